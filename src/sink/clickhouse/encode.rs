//! Encodes rows as an Arrow IPC stream in frames of bounded size, compressed, on a thread of its own, while the frames
//! before are on their way.

use std::io;

use bytes::Bytes;
use clickhouse::Compression;
use clickhouse::insert_formatted::{CompressedData, InsertFormatted};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::ipc::writer::StreamWriter;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Bytes of a frame before compression.
const FRAME_BYTES: usize = 1024 * 1024;
/// Frames that wait to be sent, at most: enough to keep both sides at work.
const FRAMES_WAITING: usize = 4;

/// A piece of the stream, ready to be sent.
enum Frame {
    Plain(Bytes),
    Compressed(CompressedData),
}

/// Rows on their way to becoming frames.
pub(super) struct Encoding {
    frames: Receiver<Frame>,
    thread: JoinHandle<Result<()>>,
}

impl Encoding {
    /// Starts to encode. Dropping it ends the work.
    pub(super) fn start(rows: RecordBatch, compression: Compression) -> Self {
        let (sender, frames) = channel(FRAMES_WAITING);
        let thread = tokio::task::spawn_blocking(move || {
            let frames = FrameWriter { sender, compression, buffer: Vec::with_capacity(FRAME_BYTES) };
            let mut writer = StreamWriter::try_new(frames, &rows.schema())?;
            writer.write(&rows)?;
            writer.into_inner()?.send().map_err(Error::internal)
        });
        Self { frames, thread }
    }

    /// Sends all frames. An error of the server comes first: it is why the encoding was cut off, if it was.
    pub(super) async fn send(mut self, insert: &mut InsertFormatted) -> Result<(), SendError> {
        while let Some(frame) = self.frames.recv().await {
            match frame {
                Frame::Plain(bytes) => insert.send(bytes).await,
                Frame::Compressed(data) => insert.send_compressed(data).await,
            }
            .map_err(SendError::Insert)?;
        }
        match self.thread.await {
            Ok(encoded) => encoded.map_err(SendError::Encode),
            Err(error) => Err(SendError::Encode(Error::internal(error))),
        }
    }
}

/// Which side failed.
pub(super) enum SendError {
    Insert(clickhouse::error::Error),
    Encode(Error),
}

/// Cuts what is written into frames.
struct FrameWriter {
    sender: Sender<Frame>,
    compression: Compression,
    buffer: Vec<u8>,
}

impl FrameWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let frame = match self.compression {
            Compression::None => {
                Frame::Plain(Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(FRAME_BYTES))))
            }
            compression => {
                let compressed = CompressedData::new(&self.buffer, compression).map_err(io::Error::other)?;
                self.buffer.clear();
                Frame::Compressed(compressed)
            }
        };
        self.sender.blocking_send(frame).map_err(|_| io::Error::other("the insert has ended"))
    }
}

impl io::Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(FRAME_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == FRAME_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    /// Frames are sent when they are full, and the last at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
