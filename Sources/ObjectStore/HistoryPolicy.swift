/// Which past revisions are kept: pure, told the time.
///
/// Those of the last `historySeconds`, but at most `historyRevisionsMax` and at least `historyRevisionsMin`.
package struct HistoryPolicy: Sendable {
  /// How finely times are remembered; also how often a quiet store looks.
  private static let samples = 30
  /// A share of the history by which it is cut at once, so that compaction is not done revision by revision.
  private static let step: Int64 = 8

  private let secondsMax: Double
  private let revisionsMax: Int64
  private let revisionsMin: Int64
  private let sampleNanoseconds: Int64
  private var oldest: Int64
  /// The revision at some past times, oldest first; at most `samples` and one older.
  private var marks: [(nanoseconds: Int64, revision: Int64)]
  package private(set) var nextLookNanoseconds: Int64

  package init(_ configuration: StoreConfiguration, oldest: Int64, revision: Int64, nowNanoseconds: Int64) {
    secondsMax = configuration.historySeconds
    revisionsMax = configuration.historyRevisionsMax
    revisionsMin = min(configuration.historyRevisionsMin, configuration.historyRevisionsMax)
    sampleNanoseconds = max(1_000_000, Int64(configuration.historySeconds * 1e9) / Int64(Self.samples))
    self.oldest = oldest
    marks = [(nowNanoseconds, revision)]
    nextLookNanoseconds = nowNanoseconds + sampleNanoseconds
  }

  /// The revision to raise the oldest readable one to; nil: leave it.
  package mutating func target(revision: Int64, nowNanoseconds now: Int64) -> Int64? {
    var target: Int64?
    // By number: a little early and in steps, so that the bound holds between them.
    if revision - oldest >= revisionsMax { target = revision - revisionsMax + revisionsMax / Self.step }
    if now >= nextLookNanoseconds {
      nextLookNanoseconds = now + sampleNanoseconds
      let begin = now - Int64(secondsMax * 1e9)
      while marks.count > 1, marks[1].nanoseconds <= begin { marks.removeFirst() }
      if let mark = marks.first, mark.nanoseconds <= begin {
        target = max(target ?? 0, min(mark.revision, revision - revisionsMin))
      }
      marks.append((now, revision))
    }
    guard let target, target > oldest else { return nil }
    oldest = target
    return target
  }
}
