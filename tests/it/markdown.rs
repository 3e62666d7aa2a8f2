//! The fenced blocks of a document, and the lines before each.

use crate::repository::read;

/// Fenced block.
pub(crate) struct Block {
    /// `docs/tls.md:12`, the line of its fence.
    pub(crate) place: String,
    /// The word after the fence, as `sh`.
    pub(crate) language: String,
    /// Content of the block.
    pub(crate) text: String,
    /// The paragraph before it.
    pub(crate) before: String,
    /// Content of an HTML comment on the line above, as `not run here: …`.
    pub(crate) remark: Option<String>,
}

/// The blocks of a document, in order.
pub(crate) fn blocks(path: &str) -> Vec<Block> {
    blocks_of(path, &read(path))
}

fn blocks_of(path: &str, text: &str) -> Vec<Block> {
    let (mut found, mut open, mut paragraph): (Vec<Block>, Option<Block>, Vec<&str>) = (Vec::new(), None, Vec::new());
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(""), Some(block)) => {
                paragraph.clear();
                found.push(block);
            }
            (Some(language), None) => {
                let remark = |line: &&str| line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")).map(str::to_owned);
                let remark = paragraph.last().and_then(remark);
                let (place, language) = (format!("{path}:{}", number + 1), language.to_owned());
                open = Some(Block { place, language, text: String::new(), before: paragraph.join(" "), remark });
            }
            (_, Some(mut block)) => {
                block.text += &format!("{line}\n");
                open = Some(block);
            }
            // An empty line ends a paragraph; what comes next may be a fence that belongs to it.
            (None, None) if line.is_empty() => {}
            (None, None) => {
                if number > 0 && text.lines().nth(number - 1).is_some_and(str::is_empty) {
                    paragraph.clear();
                }
                paragraph.push(line);
            }
        }
    }
    assert!(open.is_none(), "{path}: a fence is not closed");
    found
}

#[test]
fn blocks_are_found_with_the_lines_before_them() {
    let text = "# A\n\nOld.\n\nIt must\nprint `x`:\n\n```sh\nprintf '%s\\n' x\n```\n\n<!-- not run here: no -->\n```sh\ny\n```\n```text\n# z\n```\n";
    let found = blocks_of("a.md", text);
    let shapes: Vec<_> =
        found.iter().map(|block| (&*block.place, &*block.language, &*block.text, &*block.before, block.remark.as_deref())).collect();
    assert_eq!(shapes[0], ("a.md:8", "sh", "printf '%s\\n' x\n", "It must print `x`:", None));
    assert_eq!((shapes[1].2, shapes[1].4), ("y\n", Some("not run here: no")));
    assert_eq!(shapes[2], ("a.md:16", "text", "# z\n", "", None));
}
