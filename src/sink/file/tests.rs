use std::fs;

use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::testing::{block, table};
use super::*;

const TWO_ROWS: &str = "{\"id\":1,\"at\":\"2024-06-20T16:13:20\",\"name\":\"ann\"}\n{\"id\":2,\"at\":\"2024-06-20T16:13:20.125\",\"name\":null}\n";

fn sink(path: &Path, extra: &[(&str, &str)], resume: bool) -> FileSink {
    let mut options = vec![("path", path.to_str().unwrap())];
    options.extend(extra);
    FileSink::new(&table("filesystem", &options), resume).unwrap()
}

fn parts(directory: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    parts
}

#[tokio::test]
async fn a_directory_has_a_file_a_block_and_never_twice() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("out/rows");
    let mut first = sink(&directory, &[], false);
    first.prepare().await.unwrap();
    fs::write(directory.join(".part-000009-x.json.tmp"), "half").unwrap();
    first.write(&block("a", 1)).await.unwrap();
    first.write(&block("b", 2)).await.unwrap();
    first.write_again(&block("a", 1)).await.unwrap();
    first.finish().await.unwrap();
    let mut resumed = sink(&directory, &[], true);
    resumed.prepare().await.unwrap();
    resumed.write_again(&block("b", 2)).await.unwrap();
    let parts = parts(&directory);
    assert_eq!(parts.len(), 2, "{parts:?}");
    assert!(parts.iter().all(|part| fs::read_to_string(part).unwrap() == TWO_ROWS));
    assert!(parts[0].file_name().unwrap().to_str().unwrap().starts_with("part-000001-"));
}

#[tokio::test]
async fn a_text_file_is_resumed_where_it_was_durable() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("rows.csv");
    let mut first = sink(&path, &[], false);
    first.prepare().await.unwrap();
    first.write(&block("a", 1)).await.unwrap();
    first.write(&block("b", 1)).await.unwrap();
    first.write_again(&block("b", 1)).await.unwrap();
    let header = "id,at,name\n";
    let rows = "1,2024-06-20T16:13:20,ann\n2,2024-06-20T16:13:20.125,\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{header}{rows}{rows}"));

    // A crash in the middle of the next block.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"1,2024-").unwrap();
    let mut second = sink(&path, &[], true);
    second.prepare().await.unwrap();
    second.write_again(&block("b", 1)).await.unwrap();
    second.write_again(&block("c", 2)).await.unwrap();
    second.finish().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{header}{rows}{rows}{rows}"));

    let mut anew = sink(&path, &[("csv.header", "false")], false);
    anew.prepare().await.unwrap();
    anew.write(&block("a", 1)).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), rows);
}

#[tokio::test]
async fn a_parquet_file_is_whole_at_the_end() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("rows.parquet");
    let mut one = sink(&path, &[], false);
    one.prepare().await.unwrap();
    one.write(&block("a", 1)).await.unwrap();
    one.write(&block("b", 1)).await.unwrap();
    one.finish().await.unwrap();
    let read = |path: &Path| -> usize {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
        reader
            .map(|rows| rows.unwrap())
            .inspect(|rows| assert_eq!(rows.num_columns(), 3))
            .map(|rows| rows.num_rows())
            .sum()
    };
    assert_eq!(read(&path), 4);
    let error = sink(&path, &[], true).prepare().await.unwrap_err();
    assert!(error.to_string().contains("directory"), "{error}");

    let mut many = sink(&temporary.path().join("rows"), &[("format", "parquet")], false);
    many.prepare().await.unwrap();
    many.write(&block("a", 1)).await.unwrap();
    let parts = parts(&temporary.path().join("rows"));
    assert_eq!((parts.len(), read(&parts[0])), (1, 2));
}

#[test]
fn a_format_that_is_not_there_is_named() {
    let error = FileSink::new(&table("filesystem", &[("path", "/tmp/x"), ("format", "orc")]), false).err().unwrap();
    assert!(error.to_string().contains("'orc'"), "{error}");
}
