internal import CLinux
internal import Glibc

/// A file descriptor with one owner: closed when the owner goes, and never twice.
package struct OwnedFD: ~Copyable, Sendable {
  private let raw: CInt

  package init(adopting raw: CInt) {
    precondition(raw >= 0, "not a descriptor")
    self.raw = raw
  }

  deinit { _ = Glibc.close(raw) }

  /// Lends the number for the length of `body`; it must not be kept or closed.
  package borrowing func withRaw<R: ~Copyable, E: Error>(_ body: (CInt) throws(E) -> R) throws(E) -> R {
    try body(raw)
  }

  /// Closes now and reports the error that dropping it would hide. Not retried on EINTR: on Linux the descriptor is gone.
  package consuming func close() throws(SyscallError) {
    let fd = raw
    discard self
    if Glibc.close(fd) == -1 { throw SyscallError(call: "close", subject: "fd \(fd)", errno: Glibc.errno) }
  }

  /// Hands the descriptor to somebody who closes it, such as SwiftNIO.
  package consuming func release() -> CInt {
    let fd = raw
    discard self
    return fd
  }

  /// A second, close-on-exec descriptor of the same open file.
  package borrowing func duplicate() throws(SyscallError) -> OwnedFD {
    let fd = raw
    return OwnedFD(adopting: try syscall("fcntl", on: "fd \(fd)") { clinux_fcntl_dupfd_cloexec(fd, 3) })
  }
}

/// An `OwnedFD` that several owners share: closed when the last one goes.
package final class SharedFD: Sendable {
  private let owned: OwnedFD

  package init(_ owned: consuming OwnedFD) { self.owned = owned }

  package func withRaw<R: ~Copyable, E: Error>(_ body: (CInt) throws(E) -> R) throws(E) -> R {
    try owned.withRaw(body)
  }

  package func duplicate() throws(SyscallError) -> OwnedFD { try owned.duplicate() }
}

/// Both ends of a pipe, close-on-exec, until each is taken.
package struct Pipe: ~Copyable {
  private var readEnd: OwnedFD?
  private var writeEnd: OwnedFD?

  package init() throws(SyscallError) {
    var ends: [CInt] = [-1, -1]
    // Safe: room for the two numbers that the call writes.
    _ = try syscall("pipe2", on: "new pipe") { unsafe clinux_pipe(&ends) }
    readEnd = OwnedFD(adopting: ends[0])
    writeEnd = OwnedFD(adopting: ends[1])
  }

  /// Each end is taken once; taking it again is a bug.
  package mutating func takeReadEnd() -> OwnedFD { readEnd.take()! }
  package mutating func takeWriteEnd() -> OwnedFD { writeEnd.take()! }
}

extension OwnedFD {
  /// Reads up to `count` bytes; an empty array is the end of the file. Blocks as the descriptor does.
  package borrowing func read(upTo count: Int) throws(SyscallError) -> [UInt8] {
    let fd = raw
    var failure: SyscallError?
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      do throws(SyscallError) {
        // Safe: the buffer holds `count` bytes and the kernel writes no more than that.
        filled = try syscall("read", on: "fd \(fd)") { unsafe Glibc.read(fd, buffer.baseAddress, count) }
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  /// Reads up to `count` bytes from `offset`, whatever was read before.
  package borrowing func read(upTo count: Int, at offset: Int) throws(SyscallError) -> [UInt8] {
    let fd = raw
    var failure: SyscallError?
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      do throws(SyscallError) {
        // Safe: the buffer holds `count` bytes and the kernel writes no more than that.
        filled = try syscall("pread", on: "fd \(fd)") { unsafe pread(fd, buffer.baseAddress, count, off_t(offset)) }
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  /// Reads to the end of the file.
  /// - Throws: EMSGSIZE where there is more than `maxBytes`.
  package borrowing func readAll(maxBytes: Int) throws(SyscallError) -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let chunk = try read(upTo: min(1 << 16, maxBytes + 1 - all.count))
      if chunk.isEmpty { return all }
      all += chunk
      if all.count > maxBytes {
        throw SyscallError(call: "read", subject: "more than \(maxBytes) bytes", errno: EMSGSIZE)
      }
    }
  }

  /// Whether bytes wait to be read. Does not block.
  package borrowing func hasInput() -> Bool {
    var waiting = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
    // Safe: one entry, whose revents the kernel writes.
    return unsafe poll(&waiting, 1, 0) == 1 && waiting.revents & Int16(POLLIN) != 0
  }

  /// Writes every byte. Blocks as the descriptor does.
  package borrowing func writeAll(_ bytes: [UInt8]) throws(SyscallError) {
    let fd = raw
    var done = 0
    while done < bytes.count {
      done += try syscall("write", on: "fd \(fd)") {
        // Safe: the range from `done` lies inside the array for the length of the call.
        unsafe bytes.withUnsafeBytes { unsafe Glibc.write(fd, $0.baseAddress! + done, bytes.count - done) }
      }
    }
  }
}
