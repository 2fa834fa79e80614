//! Container files, written by `apache-avro`.

use apache_avro::types::Value;
use apache_avro::{Codec, DeflateSettings, Writer, ZstandardSettings};

use super::container::Header;
use super::datum::Datum;

fn file(codec: Codec, values: i32) -> Vec<u8> {
    let json = r#"{"type":"record","name":"r","fields":[{"name":"id","type":"int"},{"name":"text","type":"string"}]}"#;
    let schema = apache_avro::Schema::parse_str(json).unwrap();
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec).unwrap();
    for id in 0..values {
        let fields = vec![("id".into(), Value::Int(id)), ("text".into(), Value::String(format!("text {id}")))];
        writer.append_value(Value::Record(fields)).unwrap();
        if id % 100 == 99 {
            writer.flush().unwrap();
        }
    }
    writer.into_inner().unwrap()
}

fn ids(mut input: &[u8]) -> Result<Vec<i32>, String> {
    let header = Header::read(&mut input)?;
    let mut ids = Vec::new();
    while let Some(block) = header.block(&mut input, false)? {
        let mut start = 0;
        for end in header.ends(&block)? {
            ids.push(Datum::new(&block.bytes[..end], start).int().unwrap());
            start = end;
        }
    }
    Ok(ids)
}

#[test]
fn every_codec() {
    for codec in [
        Codec::Null,
        Codec::Deflate(DeflateSettings::default()),
        Codec::Snappy,
        Codec::Zstandard(ZstandardSettings::default()),
    ] {
        assert_eq!(ids(&file(codec, 250)).unwrap(), (0..250).collect::<Vec<_>>(), "{codec:?}");
    }
}

#[test]
fn damage_is_told_and_never_a_panic() {
    let whole = file(Codec::Null, 3);
    assert!(ids(b"PAR1").unwrap_err().contains("no Avro container file"));
    for cut in 1..whole.len() {
        assert!(ids(&whole[..cut]).is_err() || ids(&whole[..cut]).unwrap().is_empty(), "{cut}");
    }
    for place in 0..whole.len() {
        for bits in [1, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[place] ^= bits;
            let _ = ids(&damaged);
        }
    }
}

#[test]
fn numbers_to_the_last_bit() {
    for (bytes, value) in [
        (&[0][..], Ok(0)),
        (&[1], Ok(-1)),
        (&[0x80, 1], Ok(64)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Ok(i64::MIN)),
        (&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Ok(i64::MAX)),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], Err("a number of more than 64 bits")),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 1], Err("a number of more than 64 bits")),
        (&[0x80], Err("the record ends within a value")),
        (&[], Err("the record ends within a value")),
    ] {
        assert_eq!(Datum::new(bytes, 0).long().map_err(|broken| broken.words), value, "{bytes:?}");
    }
}
