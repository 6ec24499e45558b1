import Dataplane
import Kernel
import TestSupport
import Testing

/// What a change costs must not depend on what exists. Alone, because it looks at the clock.
@Suite(.serialized) struct ScaleTests {
  static func entries(_ count: Int) -> [ServiceEntry] {
    (0..<count).map { service("s\($0)", "10.96.\($0 / 250).\($0 % 250 + 1)", endpoints: 3) }
  }

  /// Nanoseconds of each of `times` changes of one service's endpoints, from three to four and back.
  static func changes(_ bench: Bench, times: Int) async throws -> [Int64] {
    var durations: [Int64] = []
    for step in 0..<times {
      let entry = service("s7", "10.96.0.8", endpoints: step % 2 == 0 ? 4 : 3)
      let start = SystemClock.bootNanoseconds
      try await bench.dataplane.change(set: [entry])
      durations.append(SystemClock.bootNanoseconds - start)
    }
    return durations
  }

  static func median(_ values: [Int64]) -> Int64 { values.sorted()[values.count / 2] }

  @Test func oneChangeAmongTenThousandServicesCostsAtMostTwiceWhatItCostsAmongTen() async throws {
    let small = try await Bench.make()
    defer { small.remove() }
    let large = try await Bench.make()
    defer { large.remove() }
    try await small.dataplane.apply(try ServiceTable(Self.entries(10)))
    let start = SystemClock.bootNanoseconds
    try await large.dataplane.apply(try ServiceTable(Self.entries(10_000)))
    let full = SystemClock.bootNanoseconds - start
    var few: [Int64] = []
    var many: [Int64] = []
    // Side by side, so that the machine's other work meets both alike.
    for _ in 0..<20 {
      few += try await Self.changes(small, times: 10)
      many += try await Self.changes(large, times: 10)
    }
    let figures =
      "full apply of 10,000 services \(full / 1000) µs; one change among 10: \(Self.median(few) / 1000) µs "
      + "(min \(few.min()! / 1000)), among 10,000: \(Self.median(many) / 1000) µs (min \(many.min()! / 1000))"
    try Figures.note(figures)
    #expect(Self.median(many) <= 2 * Self.median(few), "\(figures)")
  }
}

/// Measurements of a test run, appended to the file that MARTLET_FIGURES names.
enum Figures {
  static func note(_ line: String) throws {
    guard let path = environmentVariable("MARTLET_FIGURES") else { return }
    let file = try Files.open(path, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.append, mode: 0o644)
    try file.writeAll(Array("\(line)\n".utf8))
  }
}
