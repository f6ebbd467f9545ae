//! Responses as text, without what differs from run to run.

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// The debug form of a response, with ids, addresses and times replaced.
pub(super) fn tidy(debug: &str, bootstrap: &str) -> String {
    let mut text = debug.replace(", unknown_tagged_fields: {}", "");
    text = text.replace("throttle_time_ms: 0, ", "").replace("throttle_time_ms: 0 ", "");
    if let Some((_, port)) = bootstrap.rsplit_once(':') {
        text = text.replace(&format!("port: {port}"), "port: PORT");
    }
    for key in [
        "error_message: ",
        "cluster_id: ",
        "producer_id: ",
        "last_timestamp: ",
        "transaction_start_time_ms: ",
        "documentation: ",
    ] {
        text = mask(&text, key);
    }
    mask_ids(&text)
}

/// Replaces the values of `key`, but for those that say that there is nothing.
fn mask(text: &str, key: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(key) {
        let (before, after) = rest.split_at(at + key.len());
        masked += before;
        let length = value_length(after);
        let (value, after) = after.split_at(length);
        // What is said to people is not compared, nor whether something is said.
        let said = key == "error_message: ";
        let nothing = !said && (value == "None" || value == "-1");
        masked += if nothing { value } else { "*" };
        rest = after;
    }
    masked + rest
}

/// How long the value is that the text begins with.
fn value_length(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ',' | ')' | ']' | '}' | ' ' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

fn mask_ids(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match rest.get(..NIL.len()) {
            Some(id) if id != NIL && is_id(id) => {
                masked += "ID";
                rest = &rest[NIL.len()..];
            }
            _ => {
                masked.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    masked
}

fn is_id(text: &str) -> bool {
    text.bytes().zip(NIL.bytes()).all(|(letter, like)| match like {
        b'-' => letter == b'-',
        _ => letter.is_ascii_hexdigit(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_replaced() {
        let said = r#"R { throttle_time_ms: 0, error_message: Some("a \"b\", c"), port: 77 }"#;
        assert_eq!(tidy(said, "127.0.0.1:77"), "R { error_message: *, port: PORT }");
        assert_eq!(tidy("x error_message: None, y", ":1"), "x error_message: *, y");
        assert_eq!(tidy("producer_id: 9, z", ":1"), "producer_id: *, z");
        assert_eq!(tidy("producer_id: -1 }", ":1"), "producer_id: -1 }");
        assert_eq!(tidy("id: 01234567-89ab-cdef-0123-456789abcdef.", ":1"), "id: ID.");
        assert_eq!(tidy(NIL, ":1"), NIL);
    }
}
