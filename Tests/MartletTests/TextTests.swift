import CRIClient
import CRIModel
import JSON
import Kernel
import SwiftProtobuf
import TestSupport
import Testing
import YAML

@testable import martlet

@Suite struct TextTests {
  @Test(arguments: [
    (0, "0s"), (119, "119s"), (120, "2m"), (185, "3m5s"), (600, "10m"), (7199, "119m"), (7200, "2h"), (7260, "2h1m"),
    (36_000, "10h"), (172_800, "2d"), (-5, "0s"),
  ])
  func agesAreShort(_ seconds: Int64, _ text: String) {
    #expect(Units.age(nanoseconds: seconds * 1_000_000_000) == text)
  }

  @Test(arguments: [
    (0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1536, "1.5KiB"), (10_240, "10KiB"), (1 << 20, "1MiB"),
    (23_000_000, "22MiB"), (UInt64.max, "16EiB"),
  ])
  func sizesAreShort(_ bytes: UInt64, _ text: String) { #expect(Units.bytes(bytes) == text) }

  @Test(arguments: [
    (0.0, 1, "0"), (1.25, 1, "1.3"), (99.96, 1, "100"), (-0.5, 1, "-0.5"), (3.0, 2, "3"), (0.05, 2, "0.05"),
  ])
  func numbersAreRounded(_ value: Double, _ digits: Int, _ text: String) { #expect(Units.fixed(value, digits) == text) }

  @Test(arguments: [("90", 90), ("90s", 90), ("10m", 600), ("2h30m", 9000), ("1d", 86_400), ("1m5", 65)])
  func durationsAreRead(_ text: String, _ seconds: Int64) {
    #expect(Units.duration(text) == seconds * 1_000_000_000)
  }

  @Test(arguments: ["", "m", "-5s", "5x", "1.5h", "99999999999999999999", "5 m"]) func otherDurationsAreNot(
    _ text: String
  ) {
    #expect(Units.duration(text) == nil)
  }

  @Test(arguments: [
    ("1970-01-01T00:00:00Z", 0), ("2000-02-29T12:30:45Z", 951_827_445_000_000_000),
    ("2024-05-01T10:00:00.5+02:00", 1_714_550_400_500_000_000), ("1969-12-31T23:59:59Z", -1_000_000_000),
    ("2024-12-31t23:59:59.123456789999z", 1_735_689_599_123_456_789),
  ])
  func timestampsAreRead(_ text: String, _ nanoseconds: Int64) {
    #expect(Timestamp.nanoseconds(text) == nanoseconds)
  }

  @Test(arguments: [
    "", "2024", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T25:00:00Z",
    "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00Zx", "9999-01-01T00:00:00Z",
  ])
  func otherTimestampsAreNot(_ text: String) { #expect(Timestamp.nanoseconds(text) == nil) }

  @Test func timestampsGoBothWays() {
    for day in stride(from: Int64(-20_000), to: 60_000, by: 37) {
      let time = (day * 86_400 + 3_723) * 1_000_000_000
      #expect(Timestamp.nanoseconds(Timestamp.text(nanoseconds: time)) == time)
    }
  }

  @Test func columnsAreAsWideAsTheirWidestCell() {
    var table = Table(["A", "LONGER"])
    table.rows = [["wide cell", "x"], ["y", ""]]
    #expect(table.text() == "A          LONGER\nwide cell  x\ny\n")
    #expect(table.text(width: 14) == "A          LO…\nwide cell  x\ny\n")
  }

  @Test func aNameCannotMoveTheCursor() {
    var table = Table(["A"])
    table.rows = [[Table.Cell("x\u{1b}[2Jy\n\u{7f}")]]
    #expect(table.text() == "A\nx?[2Jy??\n")
  }

  @Test func yamlMeansTheSameToAnotherReader() async throws {
    let value = sample.json
    let script =
      "import sys,json\ntry:\n  import yaml\nexcept ImportError:\n  sys.exit(0)\n"
      + "a=yaml.safe_load(open(sys.argv[1])); b=json.load(open(sys.argv[2])); sys.exit(0 if a==b else 1)\n"
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    try Files.writeAtomically("\(directory.path)/a.yaml", Array(YAML.encoded(value).utf8))
    try Files.writeAtomically("\(directory.path)/b.json", value.encoded())
    let outcome = try await ChildProcess.run(
      "/usr/bin/python3",
      arguments: ["python3", "-c", script, "\(directory.path)/a.yaml", "\(directory.path)/b.json"])
    #expect(outcome.status == .exited(0), "\(String(decoding: outcome.errorOutput, as: UTF8.self))")
  }

  @Test func globalOptionsMayStandBeforeTheSubcommand() {
    let (options, rest) = LeadingOptions.split(["--run", "/tmp/a", "-o", "json", "--no-color", "ps", "--socket", "x"])
    #expect(options == LeadingOptions(socket: nil, run: "/tmp/a", output: .json, noColor: true))
    #expect(rest == ["ps", "--socket", "x"])
    #expect(LeadingOptions.split(["--socket=/a", "ps"]).0.socket == "/a")
    // What does not fit is left to the argument parser, which says so.
    #expect(LeadingOptions.split(["-o", "xml", "ps"]).rest == ["-o", "xml", "ps"])
    #expect(LeadingOptions.split(["--help"]).rest == ["--help"])
    #expect(LeadingOptions.split(["--socket"]).rest == ["--socket"])
  }

  @Test func progressBarsAreGolden() throws {
    var board = ProgressBoard()
    var lines: [String?] = []
    func step(_ stage: MartletImageProgress.Stage, _ digest: String, _ done: UInt64, _ total: UInt64) {
      lines.append(
        board.update(
          .with {
            $0.stage = stage
            $0.digest = digest
            $0.doneBytes = done
            $0.totalBytes = total
          }))
    }
    let (one, two) = ("sha256:" + String(repeating: "a", count: 64), "sha256:" + String(repeating: "b", count: 64))
    step(.resolving, "", 0, 0)
    var drawings = board.lines(width: 80) + ["--"]
    step(.downloading, one, 0, 30 << 20)
    step(.downloading, two, 0, 0)
    step(.downloading, one, 12 << 20, 30 << 20)
    step(.downloading, two, 5 << 20, 0)
    drawings += board.lines(width: 80) + ["--"] + board.lines(width: 30) + ["--"]
    step(.unpacking, one, 30 << 20, 30 << 20)
    step(.layerDone, one, 30 << 20, 30 << 20)
    step(.done, "", 0, 0)
    let text = lines.compactMap { $0 } + ["--"] + drawings + board.lines(width: 80)
    try Golden.check(text.joined(separator: "\n") + "\n", named: "progress.txt")
    #expect(board.lines(width: 30).allSatisfy { $0.count <= 30 })
  }

  @Test func aConfigurationFileIsReadStrictly() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/pod.json"
    func read(_ text: String) throws -> CRIPodSandboxConfig {
      try Files.writeAtomically(path, Array(text.utf8))
      return try Messages.read(CRIPodSandboxConfig.self, from: path)
    }
    let pod = try read(#"{"metadata":{"name":"a","uid":"1","namespace":"d","attempt":1},"log_directory":"/var/log/x"}"#)
    #expect(pod.metadata.name == "a" && pod.logDirectory == "/var/log/x")
    let unknown = #expect(throws: Failure.self) { try read(#"{"metadta":{}}"#) }
    #expect(unknown?.message.contains("metadta") == true)
    #expect(throws: Failure.self) { try read(#"{"hostname":"a","hostname":"b"}"#) }
    #expect(throws: Failure.self) { try read("{") }
    #expect(throws: Failure.self) { try read(#"{"hostname":5}"#) }
  }

  @Test func errorsBecomeExitCodesAndHints() {
    func code(_ code: CRIError.Code) -> Int32? { Failure(CRIError(code: code, message: "m", call: "Call"))?.code }
    #expect(code(.notFound) == 3)
    #expect(code(.unavailable) == 4)
    #expect(code(.internalError) == 1)
    #expect(code(.cancelled) == 130)
    let down = Failure(CRIError(code: .unavailable, message: "no answer at /x", call: "Version"))
    #expect(down?.hint?.contains("sudo martletd") == true)
  }
}
