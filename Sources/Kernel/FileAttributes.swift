internal import Glibc

extension OwnedFD {
  /// What is open here.
  package borrowing func status() throws(SyscallError) -> FileStatus {
    try withRaw { fd throws(SyscallError) in
      var status = stat()
      _ = try syscall("fstat", on: "fd \(fd)") { unsafe fstat(fd, &status) }
      return FileStatus(status)
    }
  }
}

extension Errno {
  /// A device node without a driver, as the whiteouts of overlayfs are.
  package static let noDeviceOrAddress: CInt = ENXIO
}
