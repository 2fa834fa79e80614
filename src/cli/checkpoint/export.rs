//! `highwater checkpoint export`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::show::name;
use super::{Place, find, manifest_json};
use crate::cli::print_result;
use crate::error::{Error, Result};

/// Arguments of `highwater checkpoint export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The job
    job: String,
    /// Which of its checkpoints [default: the newest]
    number: Option<u64>,
    #[command(flatten)]
    place: Place,
    /// The folder for the files; it is created, and must be empty [default: JOB-NUMBER]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Say as JSON what was written
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ExportArgs) -> Result<()> {
    let found = find(&args.place, &args.job, args.number).await?;
    let number = found.file.number;
    let folder = args.to.clone().unwrap_or_else(|| PathBuf::from(format!("{}-{number}", args.job)));
    let failed = |path: &std::path::Path, cause: std::io::Error| {
        Error::permanent(format!("cannot write {}", path.display()), cause)
    };
    std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    if std::fs::read_dir(&folder).map_err(|error| failed(&folder, error))?.next().is_some() {
        return Err(Error::config(format!("{} is not empty; name another folder with --to", folder.display())));
    }
    let mut written = Vec::new();
    let manifest = folder.join("manifest.json");
    let text = format!("{:#}\n", manifest_json(&found.outline.manifest)?);
    std::fs::write(&manifest, &text).map_err(|error| failed(&manifest, error))?;
    written.push(("manifest.json".to_owned(), text.len() as u64));
    // Several parts may hold the same: kept rows have one for each partition.
    let own = found.outline.parts.iter().enumerate();
    let mut parts: Vec<_> =
        own.map(|(place, part)| (format!("{place:04}-{}", name(part.holds)), &found.file, part)).collect();
    let beside = found.store.beside(&found.outline.manifest).await?.map_err(Error::config)?;
    for (file, of_file) in &beside {
        let named = of_file.iter().enumerate();
        parts.extend(named.map(|(place, part)| (format!("{}-{place:04}", file.name()), file, part)));
    }
    for (name, file, part) in parts.into_iter().filter(|(_, _, part)| part.bytes > 0) {
        let name = format!("{name}.arrows");
        let path = folder.join(&name);
        let mut to = File::create_new(&path).map_err(|error| failed(&path, error))?;
        found.store.copy(file, part, |bytes| to.write_all(bytes).map_err(|error| failed(&path, error))).await?;
        written.push((name, part.bytes));
    }
    if args.json {
        let files = written.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes }));
        let value = json!({ "number": number, "folder": folder, "files": files.collect::<Vec<_>>() });
        return print_result(&format!("{value:#}\n"));
    }
    let mut lines = format!("checkpoint {number} is in {}\n", folder.display());
    written.iter().for_each(|(name, bytes)| lines.push_str(&format!("  {name}  {}\n", HumanBytes(*bytes))));
    if !found.outline.has_state {
        let state = found.outline.manifest.state_number;
        lines.push_str(&format!(
            "the open windows are in checkpoint {state}: highwater checkpoint export {} {state}\n",
            args.job
        ));
    }
    print_result(&lines)
}
