//! To be preloaded: `getsockopt(TCP_INFO)` returns the full length, with the state and
//! nothing else, as gVisor's netstack does.

use std::ffi::{c_int, c_long, c_void};
use std::slice;

#[cfg(target_arch = "x86_64")]
const SYS_GETSOCKOPT: c_long = 55;
#[cfg(not(target_arch = "x86_64"))] // include/uapi/asm-generic/unistd.h
const SYS_GETSOCKOPT: c_long = 209;

const IPPROTO_TCP: c_int = 6;
const TCP_INFO: c_int = 11;

/// Bytes of `struct tcp_info` before `tcpi_rto`.
const LEN_OF_STATE: usize = 8;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// # Safety
///
/// As getsockopt(2): `value` points to `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    socket: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut u32,
) -> c_int {
    unsafe {
        let result = syscall(SYS_GETSOCKOPT, socket, level, name, value, len);
        if result == 0 && level == IPPROTO_TCP && name == TCP_INFO {
            let info = slice::from_raw_parts_mut(value.cast::<u8>(), *len as usize);
            info[LEN_OF_STATE..].fill(0);
        }
        result as c_int
    }
}
