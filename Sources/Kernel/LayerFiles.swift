internal import CLinux
internal import Glibc

extension OwnedFD {
  /// Takes the file's lock for this open file, or throws EWOULDBLOCK at once where another process has it. Dropped with
  /// the last descriptor.
  package borrowing func lockExclusively(_ path: String) throws(SyscallError) {
    _ = try withRaw { fd throws(SyscallError) in
      try syscall("flock", on: path) { clinux_flock_exclusive_nonblocking(fd) }
    }
  }
}

extension SharedFD {
  /// Writes every byte at the file's position; errors name `path`. Blocks on the disk.
  package func write(_ bytes: [UInt8], to path: String) throws(SyscallError) {
    var done = 0
    while done < bytes.count {
      done += try withRaw { fd throws(SyscallError) in
        try syscall("write", on: path) {
          // Safe: the range from `done` lies inside the array for the length of the call.
          unsafe bytes.withUnsafeBytes { unsafe Glibc.write(fd, $0.baseAddress.map { unsafe $0 + done }, bytes.count - done) }
        }
      }
    }
  }
}
