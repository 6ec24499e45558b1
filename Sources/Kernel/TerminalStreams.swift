internal import Glibc

/// Reads a descriptor that may never have anything to say, and can be interrupted meanwhile.
///
/// The descriptor may be a file, pipe, socket or terminal; it stays as it is (no flag is changed).
package final class InterruptibleReader: Sendable {
  private let wakeReader: OwnedFD
  private let wakeWriter: OwnedFD
  private let descriptor: CInt

  /// - Parameter stream: is read, and not closed.
  package init(_ stream: Terminal.Stream) throws(SyscallError) {
    var pipe = try Pipe()
    wakeReader = pipe.takeReadEnd()
    wakeWriter = pipe.takeWriteEnd()
    descriptor = stream.rawValue
  }

  /// Makes the read that waits, and every later one, end.
  package func interrupt() { try? wakeWriter.writeAll([0]) }

  /// Waits for up to `count` bytes; an empty array is the end of the input or an interruption. Cancelling the task
  /// interrupts.
  package func read(upTo count: Int) async throws(SyscallError) -> [UInt8] {
    let result: Result<[UInt8], SyscallError> = await withTaskCancellationHandler {
      do throws(SyscallError) {
        return .success(try await onFreshThread { () throws(SyscallError) in try self.blockingRead(upTo: count) })
      } catch {
        return .failure(error)
      }
    } onCancel: {
      interrupt()
    }
    return try result.get()
  }

  private func blockingRead(upTo count: Int) throws(SyscallError) -> [UInt8] {
    let fd = descriptor
    while true {
      let wake = wakeReader.withRaw { $0 }
      var watched = [
        pollfd(fd: fd, events: Int16(POLLIN), revents: 0), pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
      ]
      _ = try syscall("poll", on: "fd \(fd)") { unsafe poll(&watched, 2, -1) }
      if watched[1].revents != 0 { return [] }
      do throws(SyscallError) {
        return try Self.readOnce(fd, count)
      } catch {
        // Somebody who shares the descriptor made it non-blocking and was faster.
        if error.errno == EAGAIN { continue }
        // A terminal whose other side has gone.
        if error.errno == EIO { return [] }
        throw error
      }
    }
  }

  private static func readOnce(_ fd: CInt, _ count: Int) throws(SyscallError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let length = try syscall("read", on: "fd \(fd)") { unsafe Glibc.read(fd, &bytes, count) }
    return Array(bytes.prefix(length))
  }
}

/// Standard output and standard error: everything is written before a call returns, nothing is buffered here.
package enum StandardStream {
  /// Blocks for as long as the reader of a pipe or terminal takes. For the few lines of an answer or a message.
  package static func write(_ bytes: [UInt8], to stream: Terminal.Stream) throws(SyscallError) {
    var done = 0
    while done < bytes.count {
      let fd = stream.rawValue
      do throws(SyscallError) {
        done += try syscall("write", on: "fd \(fd)") {
          // Safe: the range from `done` lies inside the array for the length of the call.
          unsafe bytes.withUnsafeBytes { unsafe Glibc.write(fd, $0.baseAddress! + done, bytes.count - done) }
        }
      } catch {
        guard error.errno == EAGAIN else { throw error }
        var watched = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
        _ = try syscall("poll", on: "fd \(fd)") { unsafe poll(&watched, 1, -1) }
      }
    }
  }

  /// The same without ever blocking the caller's thread: for streams of unknown length.
  package static func stream(_ bytes: [UInt8], to stream: Terminal.Stream) async throws(SyscallError) {
    if bytes.count <= atomicPipeBytes, isWritable(stream) {
      try write(bytes, to: stream)
    } else {
      try await onFreshThread { () throws(SyscallError) in try write(bytes, to: stream) }
    }
  }

  /// PIPE_BUF: what a pipe that polls writable takes without blocking.
  private static let atomicPipeBytes = 4096

  private static func isWritable(_ stream: Terminal.Stream) -> Bool {
    var watched = pollfd(fd: stream.rawValue, events: Int16(POLLOUT), revents: 0)
    return unsafe poll(&watched, 1, 0) == 1
  }
}
