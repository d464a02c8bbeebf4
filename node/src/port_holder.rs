//! Who listens on a port: the process, found as `ss` finds it, so that an error can name it.

use std::fs;
use std::net::SocketAddr;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";
/// Most lines of a table and most descriptors that are looked at: a busy machine has more than anyone waits for.
const LOOKED_AT_MAX: usize = 1_000_000;

/// Name and number of the process that listens on the port of `address`; none where that cannot be seen, as with
/// another user's process.
pub fn port_holder(address: SocketAddr) -> Option<String> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, address.port()))
        .collect();
    let mut looked_at = 0;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(number) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return None;
            }
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if sockets.iter().any(|socket| target.as_os_str() == socket.as_str()) {
                let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("{} (process {number})", command.trim()));
            }
        }
    }
    None
}

/// What the descriptors of the listening sockets on that port point to.
fn listening(table: &str, port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for line in table.lines().skip(1).take(LOOKED_AT_MAX) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(&state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else { continue };
        let at = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        if state == LISTENING && at == Some(port) {
            found.push(format!("socket:[{inode}]"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = port_holder(listener.local_addr().unwrap()).unwrap();
        assert!(holder.ends_with(&format!("(process {})", std::process::id())), "{holder}");
    }
}
