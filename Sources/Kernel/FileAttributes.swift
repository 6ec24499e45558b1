internal import CLinux
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

extension Files {
  /// The value of an extended attribute, up to 256 bytes; nil where the file has none of that name.
  package static func extendedAttribute(_ name: String, of path: String) throws(SyscallError) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 256)
    do throws(SyscallError) {
      let count = try syscall("lgetxattr", on: "\(name) of \(path)") {
        // Safe: at most the buffer's own count is written.
        unsafe buffer.withUnsafeMutableBytes { unsafe lgetxattr(path, name, $0.baseAddress, $0.count) }
      }
      return Array(buffer.prefix(count))
    } catch {
      if error.errno == ENODATA || error.errno == EOPNOTSUPP { return nil }
      throw error
    }
  }
}
