internal import KubeModel

/// One line of a container's log in CRI's format: `RFC3339Nano stdout|stderr F|P text`.
package struct LogLine: Equatable, Sendable {
  package enum Stream: String, Sendable { case stdout, stderr }
  /// RFC 3339 with nanoseconds.
  package var timestamp: ArraySlice<UInt8>
  package var stream: Stream
  /// A line longer than the runtime's limit comes in parts; all but the last are partial.
  package var partial: Bool
  package var text: ArraySlice<UInt8>

  /// "2024-05-01T10:00:00Z" is the shortest.
  private static let timestampBytesMin = 20
  private static let (stdout, stderr) = (Array("stdout".utf8), Array("stderr".utf8))

  /// Reads a line without its newline; nil where it is in another format. Copies nothing: a long log is read as fast
  /// as it can be cut.
  package init?(_ line: ArraySlice<UInt8>) {
    let space = UInt8(ascii: " ")
    guard let first = line.firstIndex(of: space), first - line.startIndex >= Self.timestampBytesMin else { return nil }
    guard let second = line[(first + 1)...].firstIndex(of: space), second + 1 < line.endIndex else { return nil }
    let name = line[(first + 1)..<second]
    if name.elementsEqual(Self.stdout) {
      stream = .stdout
    } else if name.elementsEqual(Self.stderr) {
      stream = .stderr
    } else {
      return nil
    }
    switch line[second + 1] {
    case UInt8(ascii: "F"): partial = false
    case UInt8(ascii: "P"): partial = true
    default: return nil
    }
    // More tags may follow the first after colons; a full line of no text may end after its tags.
    let third = line[(second + 1)...].firstIndex(of: space) ?? line.endIndex
    guard third == second + 2 || line[second + 2] == UInt8(ascii: ":") else { return nil }
    timestamp = line[..<first]
    text = third == line.endIndex ? [] : line[(third + 1)...]
  }
}

/// Cuts a log's bytes into lines, whatever the pieces they come in.
package struct LogSplitter: Sendable {
  /// A line beyond this is no CRI log: the runtime splits at 16 KiB.
  package static let lineBytesMax = 1 << 20

  private var rest: [UInt8] = []

  package init() {}

  /// - Returns: the lines that `bytes` complete.
  package mutating func add(_ bytes: [UInt8]) -> [LogLine] {
    var lines: [LogLine] = []
    var start = bytes.startIndex
    while let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
      if rest.isEmpty {
        if let line = LogLine(bytes[start..<end]) { lines.append(line) }
      } else {
        rest += bytes[start..<end]
        if let line = LogLine(rest[...]) { lines.append(line) }
        rest.removeAll(keepingCapacity: true)
      }
      start = end + 1
    }
    rest += bytes[start...]
    if rest.count > Self.lineBytesMax { rest.removeAll() }
    return lines
  }
}

/// Chooses and formats the lines of a log.
package struct LogPrinter: Sendable {
  package var timestamps = false
  /// Nanoseconds since 1970; older lines are dropped.
  package var since: Int64?
  /// Whether each stream is inside a line that has begun and not ended.
  private var open: Set<LogLine.Stream> = []
  private var dropping: Set<LogLine.Stream> = []

  package init(timestamps: Bool = false, since: Int64? = nil) {
    self.timestamps = timestamps
    self.since = since
  }

  /// What `line` adds to its stream's output: nothing where it is too old. Parts of one line share the first's fate.
  package mutating func print(_ line: LogLine) -> [UInt8] {
    let continued = open.contains(line.stream)
    if !continued, let since, let time = RFC3339.parse(String(decoding: line.timestamp, as: UTF8.self)),
      time.seconds * 1_000_000_000 + time.nanoseconds < since
    {
      dropping.insert(line.stream)
    } else if !continued {
      dropping.remove(line.stream)
    }
    if line.partial { open.insert(line.stream) } else { open.remove(line.stream) }
    guard !dropping.contains(line.stream) else { return [] }
    var bytes: [UInt8] = []
    if timestamps, !continued { bytes += line.timestamp + [UInt8(ascii: " ")] }
    bytes += line.text
    if !line.partial { bytes.append(UInt8(ascii: "\n")) }
    return bytes
  }
}

/// The last lines of a log: a line in parts counts once.
package struct LogTail: Sendable {
  package let count: Int
  private var lines: [LogLine] = []
  private var ends = 0

  package init(count: Int) { self.count = count }

  package mutating func add(_ line: LogLine) {
    lines.append(line)
    if !line.partial { ends += 1 }
    // Cut in batches, so that a long log costs a pass and not a move for every line.
    if ends > 2 * count + 1024 { lines = last() }
  }

  package mutating func last() -> [LogLine] {
    var keep = lines.count
    var seen = 0
    while keep > 0 {
      let line = lines[keep - 1]
      if !line.partial {
        if seen == count { break }
        seen += 1
      } else if seen == count, count == 0 {
        break
      }
      keep -= 1
    }
    lines = Array(lines[keep...])
    ends = seen
    return lines
  }
}
