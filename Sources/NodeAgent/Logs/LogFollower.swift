package import Kernel

/// Reads a growing log file to its end and beyond, also when it is rotated away under the reader.
///
/// Rotation is a rename of the file and a new file at the path. The old file is read to its end first, then once more
/// after the new one is seen: its writer may have been late.
package struct LogFollower: ~Copyable {
  private let path: String
  private var file: OwnedFD?
  private var identity: (device: UInt64, inode: UInt64)?
  private var readBytes: Int64 = 0
  private var splitter = LogSplitter()

  package static let chunkBytes = 256 << 10

  package init(path: String) { self.path = path }

  /// The lines that are there and were not read yet, up to about a chunk; empty where there is nothing new.
  ///
  /// Blocks on the disk only.
  package mutating func next() throws(SyscallError) -> [LogLine] {
    if file == nil, try !open() { return [] }
    while true {
      let bytes = try read()
      if !bytes.isEmpty {
        let lines = splitter.add(bytes)
        if lines.isEmpty { continue }
        return lines
      }
      guard try rotated() else { return [] }
      let late = try read()
      if !late.isEmpty { return splitter.add(late) }
      splitter = LogSplitter()
      guard try open() else { return [] }
    }
  }

  private mutating func read() throws(SyscallError) -> [UInt8] {
    let bytes = try file?.read(upTo: Self.chunkBytes) ?? []
    readBytes += Int64(bytes.count)
    return bytes
  }

  /// - Returns: false where no file is at the path (yet).
  private mutating func open() throws(SyscallError) -> Bool {
    do {
      let opened = try Files.open(path, flags: OpenFlags.readOnly)
      let number = opened.withRaw { $0 }
      let status = try Files.status("/proc/self/fd/\(number)", follow: true)
      identity = status.map { ($0.device, $0.inode) }
      file = consume opened
      readBytes = 0
      return true
    } catch {
      if error.errno == Errno.noEntry { return false }
      throw error
    }
  }

  /// Whether the path now names another file, or this one was cut to be written anew.
  private func rotated() throws(SyscallError) -> Bool {
    guard let now = try Files.status(path, follow: true), let identity else { return false }
    if now.device != identity.device || now.inode != identity.inode { return true }
    return now.sizeBytes < readBytes
  }
}
