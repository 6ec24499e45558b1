internal import Glibc

/// Tells when the entries of one directory change: inotify(7).
package final class InotifyWatch: Sendable {
  /// Why a wait ended.
  package enum Wake: Hashable, Sendable { case changed, timedOut, interrupted, directoryGone }

  private let inotify: SharedFD
  private let wakeReader: SharedFD
  private let wakeWriter: SharedFD
  /// Bytes of events taken at once.
  private static let bufferBytes = 64 << 10

  /// Follows a symbolic link at the end of `path`: a trusted path of the host.
  package init(directory path: String) throws(SyscallError) {
    let fd = OwnedFD(
      adopting: try syscall("inotify_init1", on: path) { inotify_init1(CInt(IN_CLOEXEC | IN_NONBLOCK)) })
    let mask =
      UInt32(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB)
      | UInt32(IN_DELETE_SELF | IN_MOVE_SELF) | UInt32(IN_ONLYDIR)
    _ = try fd.withRaw { raw throws(SyscallError) in
      try syscall("inotify_add_watch", on: path) { unsafe inotify_add_watch(raw, path, mask) }
    }
    inotify = SharedFD(fd)
    var wake = try Pipe()
    (wakeReader, wakeWriter) = (SharedFD(wake.takeReadEnd()), SharedFD(wake.takeWriteEnd()))
  }

  /// Ends the wait that is under way, or the next one.
  package func interrupt() {
    let byte: UInt8 = 0
    wakeWriter.withRaw { raw in _ = unsafe withUnsafePointer(to: byte) { unsafe write(raw, $0, 1) } }
  }

  /// Waits for a change of the directory's entries; all that happened meanwhile counts as one. Blocks: for a thread of
  /// its own.
  package func wait(timeoutMilliseconds: Int32) throws(SyscallError) -> Wake {
    let (events, wakes) = try inotify.withRaw { first throws(SyscallError) in
      try wakeReader.withRaw { second throws(SyscallError) in
        try Self.poll(first, second, timeoutMilliseconds)
      }
    }
    if wakes {
      wakeReader.withRaw { raw in Self.drain(raw) { _ in } }
      return .interrupted
    }
    guard events else { return .timedOut }
    var gone = false
    inotify.withRaw { raw in Self.drain(raw) { gone = Self.saysGone($0) || gone } }
    return gone ? .directoryGone : .changed
  }

  private static func poll(_ first: CInt, _ second: CInt, _ timeout: Int32) throws(SyscallError) -> (Bool, Bool) {
    var set = [
      pollfd(fd: first, events: Int16(POLLIN), revents: 0), pollfd(fd: second, events: Int16(POLLIN), revents: 0),
    ]
    _ = try syscall("poll", on: "inotify") { unsafe Glibc.poll(&set, nfds_t(set.count), timeout) }
    return (set[0].revents != 0, set[1].revents != 0)
  }

  private static func drain(_ raw: CInt, _ body: (ArraySlice<UInt8>) -> Void) {
    var buffer = [UInt8](repeating: 0, count: bufferBytes)
    // One read takes what a wait was for; more events only make the next wait end at once.
    let length = unsafe buffer.withUnsafeMutableBytes { unsafe read(raw, $0.baseAddress, $0.count) }
    if length > 0 { body(buffer[..<length]) }
  }

  /// Walks `struct inotify_event`: wd, mask, cookie, len (32 bits each), then len bytes of name.
  private static func saysGone(_ bytes: ArraySlice<UInt8>) -> Bool {
    var offset = bytes.startIndex
    func word(_ at: Int) -> UInt32 {
      (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
    }
    while offset + 16 <= bytes.endIndex {
      if word(offset + 4) & UInt32(IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED) != 0 { return true }
      offset += 16 + Int(word(offset + 12))
    }
    return false
  }
}
