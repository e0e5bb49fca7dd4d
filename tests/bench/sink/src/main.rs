//! An S3 server that takes everything and keeps nothing: what a client does costs, and the server does not.
//!
//! usage: sink PORT
//!
//! Plain HTTP on 127.0.0.1, one thread for each connection. Bodies are read and dropped, and nothing is computed. What is
//! asked for is not there; what is written is new, but for the client's probe, which is there already: so the client
//! believes that conditions are heeded.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: sink PORT");
    for connection in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let connection = connection?;
        std::thread::spawn(move || {
            // The client may end a connection as it likes.
            let _ = serve(&connection);
        });
    }
    Ok(())
}

fn serve(connection: &TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 << 10, connection);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
        let (mut length, mut is_conditional, mut expects) = (0_u64, false, false);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "if-none-match" => is_conditional = true,
                "expect" => expects = true,
                _ => {}
            }
        }
        if expects {
            (&*connection).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        drop_bytes(&mut reader, length)?;
        let answer = answer(&method, &target, is_conditional);
        (&*connection).write_all(answer.as_bytes())?;
    }
}

/// Reads so many bytes, through the reader's own buffer.
fn drop_bytes(reader: &mut BufReader<&TcpStream>, mut left: u64) -> std::io::Result<()> {
    while left > 0 {
        let there = reader.fill_buf()?.len();
        if there == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let taken = there.min(usize::try_from(left).unwrap_or(usize::MAX));
        reader.consume(taken);
        left -= taken as u64;
    }
    Ok(())
}

fn answer(method: &str, target: &str, is_conditional: bool) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let has = |name: &str| query.split('&').any(|pair| pair == name || pair.starts_with(&format!("{name}=")));
    let body = match method {
        "PUT" if is_conditional && path.ends_with("probe") => return taken(),
        "POST" if has("uploadId") && is_conditional && path.ends_with("probe") => return taken(),
        "POST" if has("uploads") => {
            format!("{XML}<InitiateMultipartUploadResult><UploadId>sink</UploadId></InitiateMultipartUploadResult>")
        }
        "POST" if has("uploadId") => {
            format!("{XML}<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>")
        }
        "GET" if has("list-type") => {
            format!("{XML}<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        }
        "GET" => {
            let body = format!("{XML}<Error><Code>NoSuchKey</Code><Message>nothing is kept</Message></Error>");
            return format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
        "HEAD" => return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "DELETE" => return "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        _ => String::new(),
    };
    format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn taken() -> String {
    let body = format!("{XML}<Error><Code>PreconditionFailed</Code><Message>it is there</Message></Error>");
    format!("HTTP/1.1 412 Precondition Failed\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
