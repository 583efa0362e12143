//! The documents: links lead to files and headings that exist, and the tests and files
//! that they name exist too.

mod links;

use std::fs;
use std::path::{Path, PathBuf};

use links::{broken_links, exists, prose};

/// Pages in which a code span with `::` is a test in `tests/daemon/`, and how many such
/// spans they have at least.
const PAGES_THAT_NAME_TESTS: [(&str, usize); 3] = [
    ("docs/behaviour.md", 11),
    ("docs/reliability.md", 11),
    ("docs/scaling.md", 4),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all Markdown files, without those in `target` and in hidden folders.
fn pages() -> Vec<PathBuf> {
    let (mut pages, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.contains(&root().join("README.md")));
    pages
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let (checked, faults) = broken_links(&pages());
    assert!(checked > 20, "only {checked} links found");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The code spans of a page, each with the text between it and the span before.
fn code_spans(prose: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = prose.split('`').collect();
    let pairs = parts.chunks_exact(2);
    pairs.map(|pair| (pair[0], pair[1])).collect()
}

#[test]
fn files_that_documents_name_exist() {
    const FOLDERS: [&str; 5] = ["src/", "tests/", "benches/", "docs/", "examples/"];
    let (mut checked, mut missing) = (0, Vec::new());
    for page in pages() {
        for (_, span) in code_spans(&prose(&page)) {
            let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder))
                && !span.contains([' ', '*', '…']);
            checked += usize::from(is_path);
            if is_path && !exists(&root().join(span)) {
                missing.push(format!("{}: {span}", page.display()));
            }
        }
    }
    assert!(checked > 20, "only {checked} paths found");
    assert!(missing.is_empty(), "no such files: {missing:#?}");
}

/// The tests that a page names: the file of each, and its name or `*`.
fn named_tests(prose: &str) -> Vec<(PathBuf, &str)> {
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:*".contains(c))
    };
    let (mut tests, mut file) = (Vec::new(), None);
    for (before, span) in code_spans(prose) {
        // Names of tests follow the name of a source file: `src/a.rs`: `b`, `c`.
        file = file.filter(|_| [":", ","].contains(&before.trim_matches([' ', '\n', '*'])));
        if is_name(span)
            && let Some((module, name)) = span.rsplit_once("::")
        {
            let path = root().join("tests/daemon").join(module.replace("::", "/"));
            let (folder, path) = (path.join("mod.rs"), path.with_extension("rs"));
            tests.push((if path.exists() { path } else { folder }, name));
        } else if Path::new(span).extension().is_some_and(|e| e == "rs") {
            file = Some(root().join(span));
        } else if is_name(span)
            && let Some(file) = &file
        {
            tests.push((file.clone(), span));
        }
    }
    tests
}

#[test]
fn tests_that_documents_name_exist() {
    for (page, least) in PAGES_THAT_NAME_TESTS {
        let prose = prose(&root().join(page));
        let tests = named_tests(&prose);
        let count = tests.len();
        assert!(count >= least, "only {count} tests found in {page}");
        let is_missing = |(file, name): &&(PathBuf, &str)| {
            let source = fs::read_to_string(file).unwrap_or_default();
            let function = format!("fn {name}(");
            !source.contains(if *name == "*" { "#[test]" } else { &function })
        };
        let missing: Vec<_> = tests.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "{page}: no such tests: {missing:#?}");
    }
}

/// The text of a file in one line, without the marks of Rust's and TOML's line breaks.
fn in_one_line(file: &str) -> String {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let words = text.split_whitespace();
    let words = words.filter(|word| !["//!", "///", "\\"].contains(word));
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[test]
fn every_description_makes_the_promise_of_the_package() {
    let (_, promise) = env!("CARGO_PKG_DESCRIPTION").split_once(": ").unwrap();
    let descriptions = [
        ("README.md", 1),
        ("src/lib.rs", 1),
        ("src/bin/echoline/manual/echoline.txt", 1),
        ("deploy/man/echoline.1", 2), // The name, and the text.
        ("Cargo.toml", 2),            // That of the package, and that of the Debian package.
    ];
    for (file, least) in descriptions {
        let count = in_one_line(file).matches(promise).count();
        assert!(count >= least, "{file}: {count} times \"{promise}\"");
    }
}
