import Kernel
import KubeModel
import NodeAgent
import TestSupport
import Testing

private func line(_ text: String) -> LogLine? { LogLine(Array(text.utf8)[...]) }

@Suite struct LogTests {
  @Test func aCRILogLineIsTakenApart() throws {
    let full = try #require(line("2024-05-01T10:00:00.123456789Z stdout F hello  world "))
    #expect(full.timestamp.elementsEqual("2024-05-01T10:00:00.123456789Z".utf8))
    #expect(full.stream == .stdout)
    #expect(!full.partial)
    #expect(full.text.elementsEqual("hello  world ".utf8))
    let partial = try #require(line("2024-05-01T10:00:00.123456789+02:00 stderr P part"))
    #expect(partial.stream == .stderr && partial.partial)
    // An empty line, with and without the space after its tag; tags may have more parts.
    #expect(line("2024-05-01T10:00:00.123456789Z stdout F ")?.text == [])
    #expect(line("2024-05-01T10:00:00.123456789Z stdout F")?.text == [])
    #expect(line("2024-05-01T10:00:00.123456789Z stdout P:x a")?.partial == true)
    #expect(line("2024-05-01T10:00:00.123456789Z stdout Px a") == nil)
  }

  @Test(arguments: ["", "hello", "a b c d", "2024-05-01T10:00:00Z stdin F x", "2024-05-01T10:00:00Z stdout Q x", "   "])
  func otherLinesAreNoLogLines(_ text: String) { #expect(line(text) == nil) }

  @Test func linesAreFoundWhateverThePiecesTheyComeIn() {
    let text = "2024-05-01T10:00:00.000000001Z stdout F one\n2024-05-01T10:00:00.000000002Z stderr P two\n"
    for size in 1...text.utf8.count {
      var splitter = LogSplitter()
      var lines: [LogLine] = []
      var rest = Array(text.utf8)[...]
      while !rest.isEmpty {
        lines += splitter.add(Array(rest.prefix(size)))
        rest = rest.dropFirst(size)
      }
      #expect(lines.map { String(decoding: $0.text, as: UTF8.self) } == ["one", "two"])
    }
  }

  @Test func anEndlessLineDoesNotFillMemory() {
    var splitter = LogSplitter()
    for _ in 0..<64 { #expect(splitter.add([UInt8](repeating: 1, count: 1 << 16)).isEmpty) }
    let after = splitter.add(Array("\n2024-05-01T10:00:00.000000001Z stdout F one\n".utf8))
    #expect(after.count == 1)
  }

  @Test func partsAreJoinedAndTimestampsStandOnceALine() throws {
    let lines = try [
      "2024-05-01T10:00:00.000000001Z stdout P ab", "2024-05-01T10:00:00.000000002Z stderr F err",
      "2024-05-01T10:00:00.000000003Z stdout P cd", "2024-05-01T10:00:00.000000004Z stdout F ef",
      "2024-05-01T10:00:00.000000005Z stdout F gh",
    ].map { try #require(line($0)) }
    var printer = LogPrinter(timestamps: true)
    let output = lines.filter { $0.stream == .stdout }.flatMap { printer.print($0) }
    #expect(
      String(decoding: output, as: UTF8.self)
        == "2024-05-01T10:00:00.000000001Z abcdef\n2024-05-01T10:00:00.000000005Z gh\n")
  }

  @Test func olderLinesAreDroppedWithAllTheirParts() throws {
    let time = try #require(RFC3339.parse("2024-05-01T10:00:00.000000002Z"))
    let since = time.seconds * 1_000_000_000 + time.nanoseconds
    var printer = LogPrinter(since: since)
    let output = try [
      "2024-05-01T10:00:00.000000001Z stdout P old", "2024-05-01T10:00:00.000000003Z stdout F end",
      "2024-05-01T10:00:00.000000004Z stdout F new",
    ].flatMap { printer.print(try #require(line($0))) }
    #expect(String(decoding: output, as: UTF8.self) == "new\n")
  }

  @Test(arguments: 0...4) func theTailCountsWholeLines(_ count: Int) throws {
    let lines = try (0..<3000).flatMap { number in
      [
        try #require(line("2024-05-01T10:00:00.000000001Z stdout P \(number)-")),
        try #require(line("2024-05-01T10:00:00.000000001Z stdout F \(number)")),
      ]
    }
    var tail = LogTail(count: count)
    for line in lines { tail.add(line) }
    var printer = LogPrinter()
    let text = String(decoding: tail.last().flatMap { printer.print($0) }, as: UTF8.self)
    #expect(text == (3000 - count..<3000).map { "\($0)-\($0)\n" }.joined())
  }

  @Test func aRotatedLogIsFollowedWithoutLosingALine() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/0.log"
    func entry(_ number: Int) -> [UInt8] { Array("2024-05-01T10:00:00.000000001Z stdout F \(number)\n".utf8) }
    func append(_ bytes: [UInt8], to path: String) throws {
      let flags = OpenFlags.writeOnly | OpenFlags.append | OpenFlags.create
      let file = try Files.open(path, flags: flags, mode: 0o600)
      try file.writeAll(bytes)
      try file.close()
    }
    var follower = LogFollower(path: path)
    var seen: [Int] = []
    func read() throws {
      while case let lines = try follower.next(), !lines.isEmpty {
        seen += lines.compactMap { Int(String(decoding: $0.text, as: UTF8.self)) }
      }
    }
    try read()
    #expect(seen.isEmpty)
    var number = 0
    for rotation in 0..<20 {
      for _ in 0..<5 {
        try append(entry(number), to: path)
        number += 1
        if rotation % 2 == 0 { try read() }
      }
      try read()
      // Written after the last look and before the rename, and into the renamed file.
      try append(entry(number), to: path)
      try Files.rename(path, to: "\(path).\(rotation)")
      try append(entry(number + 1), to: "\(path).\(rotation)")
      number += 2
    }
    try append(entry(number), to: path)
    try read()
    #expect(seen == Array(0...number))
  }

  @Test func aLogThatWasCutIsReadFromItsStart() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/0.log"
    let first = "2024-05-01T10:00:00.000000001Z stdout F a long first line\n"
    try Files.writeAtomically(path, Array(first.utf8))
    var follower = LogFollower(path: path)
    #expect(try follower.next().count == 1)
    let file = try Files.open(path, flags: OpenFlags.writeOnly | OpenFlags.truncate)
    try file.writeAll(Array("2024-05-01T10:00:00.000000002Z stdout F b\n".utf8))
    try file.close()
    #expect(try follower.next().map(\.text) == [Array("b".utf8)[...]])
  }
}
