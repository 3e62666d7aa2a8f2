//! Holds the language rules of CONTRIBUTING.md: words that are not used, and the first word of each item's documentation.

use crate::repository::{files, read};

/// Words and phrases that a reader with English as a second language must look up, or that have a standard word.
const REFUSED: &str = "all the same, anew, be had, dawdle, dawdled, dawdles, everybody, for want of, goes on, heed, heeds, in vain, nobody, \
     older manager, so many, somebody, stands, such a, tell, tells, told, trouble, whoever, whomever";

/// Words that point to something else, so that the sentence needs another one to be understood.
const POINTERS: &[&str] = &[
    "as", "from", "how", "it", "its", "one", "so", "such", "the same", "their", "there", "these", "they", "this", "those", "what", "when",
    "where", "whether", "which", "who", "whose", "why",
];

/// File that contains the refused words: this one.
const LIST: &str = "tests/it/language.rs";

/// Endings of files that are not prose.
const DATA: [&str; 5] = [".lock", ".mod", ".sum", ".svg", "LICENSE"];

/// Files of the repository that people read.
fn texts() -> Vec<String> {
    let is_text = |file: &String| file != LIST && DATA.iter().all(|end| !file.ends_with(end));
    files("", "").into_iter().filter(is_text).collect()
}

/// The words of a text in lower case, with one space before, between and after them. Parts of a name are words, too.
fn words(text: &str) -> String {
    let mut words = String::from(" ");
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        words.push_str(&word.to_lowercase());
        words.push(' ');
    }
    words
}

/// Refused words of a text, each with the number of the line in which it begins.
fn refused(text: &str) -> Vec<(usize, &'static str)> {
    let lines: Vec<String> = text.lines().map(words).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let next = lines.get(at + 1).map_or(" ", String::as_str);
        // A phrase may go over the end of the line.
        let both = format!("{line}{}", next.trim_start());
        let begins_here = |word: &&str| both.contains(&format!(" {word} ")) && !next.contains(&format!(" {word} "));
        found.extend(REFUSED.split(", ").filter(begins_here).map(|word| (at + 1, word)));
    }
    found
}

/// First lines of the item docs (`///`) of a source file, each with its number.
fn first_lines(source: &str) -> Vec<(usize, &str)> {
    let (mut found, mut is_inside) = (Vec::new(), false);
    for (number, line) in (1..).zip(source.lines()) {
        let doc = line.trim_start().strip_prefix("///");
        found.extend(doc.filter(|_| !is_inside).map(|doc| (number, doc.trim())));
        is_inside = doc.is_some();
    }
    found
}

fn is_pointer(doc: &str) -> bool {
    let words = words(doc);
    POINTERS.iter().any(|pointer| words.starts_with(&format!(" {pointer} ")))
}

#[test]
fn no_refused_word_is_used() {
    let mut faults = Vec::new();
    for file in texts() {
        faults.extend(refused(&read(&file)).into_iter().map(|(line, word)| format!("{file}:{line}: {word:?}")));
    }
    assert!(faults.is_empty(), "use the words of CONTRIBUTING.md instead of:\n{}", faults.join("\n"));
}

#[test]
fn item_docs_name_their_subject_first() {
    let mut faults = Vec::new();
    for file in texts().iter().filter(|file| file.ends_with(".rs")) {
        let text = read(file);
        let docs = first_lines(&text).into_iter().filter(|(_, doc)| is_pointer(doc));
        faults.extend(docs.map(|(line, doc)| format!("{file}:{line}: {doc}")));
    }
    assert!(faults.is_empty(), "name the subject first:\n{}", faults.join("\n"));
}

#[test]
fn each_rule_of_language_fails_when_it_is_broken() {
    assert_eq!(refused("fine\nNobody is told."), [(2, "nobody"), (2, "told")]);
    assert_eq!(refused("asks in vain, all the same"), [(1, "all the same"), (1, "in vain")]);
    assert_eq!(refused("// all the\n// same\nfn an_older_manager() {}"), [(1, "all the same"), (3, "older manager")]);
    assert_eq!(refused("outstanding, foretold, understands"), []);
    assert_eq!(first_lines("/// What\n/// it is.\nfn f() {}\n    /// Reads.\n"), [(1, "What"), (4, "Reads.")]);
    assert!(is_pointer("It reads.") && is_pointer("The same for nodes.") && is_pointer("Why: a reason."));
    assert!(!is_pointer("Item of a list.") && !is_pointer("Assigns a term."));
}
