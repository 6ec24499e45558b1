internal import Synchronization

/// What concurrent clients of a revisioned store did and were told, and whether one order explains it all.
///
/// The store gives every change a revision, so the order is known; what is left to prove: that it respects time (whoever began
/// after another had ended comes after it), that answers tell the truth, and that nothing acknowledged is missing, nothing
/// refused has happened, nothing happened twice. Times are positions in one list, taken before asking and after the answer.
package final class WriteHistory: Sendable {
  package enum Outcome: Hashable, Sendable {
    /// Done, at this revision.
    case done(Int64)
    /// Certainly not done.
    case refused
    /// Nobody could tell.
    case unknown
  }

  /// A change of one key under the condition that it was at `expected` (0: not there; nil: no condition). Every value is
  /// written by one operation only.
  private struct Write: Sendable {
    let key: String
    let value: String?
    let expected: Int64?
    let began: Int
    let ended: Int
    let outcome: Outcome
  }

  private struct Read: Sendable {
    let key: String
    let value: String?
    let revision: Int64
    let began: Int
    let ended: Int
  }

  /// One change, as a watch told it. `value` is nil for a delete.
  package struct Change: Hashable, Sendable {
    package let revision: Int64
    package let key: String
    package let value: String?
    /// The revision of the key before; 0: it was not there.
    package let previous: Int64

    package init(revision: Int64, key: String, value: String?, previous: Int64) {
      self.revision = revision
      self.key = key
      self.value = value
      self.previous = previous
    }
  }

  private struct State {
    var time = 0
    var writes: [Write] = []
    var reads: [Read] = []
  }

  private let state = Mutex(State())

  package init() {}

  /// Now: to be taken before an operation begins.
  package func tick() -> Int {
    state.withLock { state in
      state.time += 1
      return state.time
    }
  }

  package func wrote(_ key: String, _ value: String?, expected: Int64?, began: Int, _ outcome: Outcome) {
    state.withLock { state in
      state.time += 1
      state.writes.append(
        Write(key: key, value: value, expected: expected, began: began, ended: state.time, outcome: outcome))
    }
  }

  /// - Parameter revision: of what was read; 0 where nothing was there.
  package func read(_ key: String, _ value: String?, revision: Int64, began: Int) {
    state.withLock { state in
      state.time += 1
      state.reads.append(Read(key: key, value: value, revision: revision, began: began, ended: state.time))
    }
  }

  package var acknowledged: Int {
    state.withLock { $0.writes.count { if case .done = $0.outcome { true } else { false } } }
  }

  package var unknown: Int { state.withLock { $0.writes.count { $0.outcome == .unknown } } }

  /// What is wrong with it; empty: nothing.
  /// - Parameters:
  ///   - changes: all there were, from the beginning, as a watch told them.
  ///   - seesOwnWrites: reads are from the same server that acknowledged the writes, so none is older than those.
  package func problems(_ changes: [Change], seesOwnWrites: Bool = true) -> [String] {
    let (writes, reads) = state.withLock { ($0.writes, $0.reads) }
    var problems = Self.problemsOfOrder(changes)
    let made = Dictionary(grouping: changes) { "\($0.key)=\($0.value ?? "-")" }
    for write in writes {
      let found = write.value == nil ? [] : made["\(write.key)=\(write.value ?? "-")"] ?? []
      switch write.outcome {
      case .done(let revision):
        let change = changes.first { $0.revision == revision && $0.key == write.key }
        guard let change, change.value == write.value else {
          problems.append("acknowledged at \(revision) and lost: \(write.key)=\(write.value ?? "-")")
          continue
        }
        if let expected = write.expected, change.previous != expected {
          problems.append("\(revision) \(write.key): replaced \(change.previous), not \(expected) as was asked")
        }
        if found.count > 1 { problems.append("\(write.key)=\(write.value ?? "-") happened \(found.count) times") }
      case .refused:
        if !found.isEmpty {
          problems.append("refused and done: \(write.key)=\(write.value ?? "-") at \(found[0].revision)")
        }
      case .unknown:
        if found.count > 1 { problems.append("\(write.key)=\(write.value ?? "-") happened \(found.count) times") }
      }
    }
    return problems + Self.problemsOfTime(writes) + Self.problemsOfReads(reads, writes, changes, seesOwnWrites)
  }

  private static func problemsOfOrder(_ changes: [Change]) -> [String] {
    var problems: [String] = []
    var latest: [String: Int64] = [:]
    var last: Int64 = 0
    for change in changes {
      if change.revision < last { problems.append("\(change.revision) came after \(last)") }
      last = change.revision
      if latest[change.key, default: 0] != change.previous {
        problems.append(
          "\(change.revision) \(change.key) replaced \(change.previous), but \(latest[change.key, default: 0]) was seen before"
        )
      }
      latest[change.key] = change.value == nil ? 0 : change.revision
    }
    return problems
  }

  /// Whoever began after another had ended has a later revision.
  private static func problemsOfTime(_ writes: [Write]) -> [String] {
    var problems: [String] = []
    let done = writes.compactMap { write -> (write: Write, revision: Int64)? in
      if case .done(let revision) = write.outcome { (write, revision) } else { nil }
    }
    let byEnd = done.sorted { $0.write.ended < $1.write.ended }
    var next = 0
    var newest: Int64 = 0
    for (write, revision) in done.sorted(by: { $0.write.began < $1.write.began }) {
      while next < byEnd.count, byEnd[next].write.ended < write.began {
        newest = max(newest, byEnd[next].revision)
        next += 1
      }
      if revision <= newest { problems.append("\(revision) \(write.key) began after \(newest) had been acknowledged") }
    }
    return problems
  }

  private static func problemsOfReads(
    _ reads: [Read], _ writes: [Write], _ changes: [Change], _ seesOwnWrites: Bool
  ) -> [String] {
    var problems: [String] = []
    let byRevision = Dictionary(changes.map { ("\($0.key)@\($0.revision)", $0) }, uniquingKeysWith: { $1 })
    let byKey = Dictionary(grouping: changes, by: \.key)
    for read in reads {
      if read.revision > 0, byRevision["\(read.key)@\(read.revision)"]?.value != read.value {
        problems.append("read \(read.key)@\(read.revision)=\(read.value ?? "-"), which never was")
      }
      guard seesOwnWrites else { continue }
      // The newest that was acknowledged before it began; what was read must have been there at or after that.
      var floor: Int64 = 0
      for write in writes where write.key == read.key && write.ended < read.began {
        if case .done(let revision) = write.outcome { floor = max(floor, revision) }
      }
      if read.revision > 0 {
        let replaced = byKey[read.key]?.first { $0.revision > read.revision }
        if let replaced, replaced.revision <= floor {
          problems.append("read \(read.key)@\(read.revision) after \(floor) had been acknowledged")
        }
      } else if floor > 0 {
        let wasGone = byKey[read.key]?.contains { $0.value == nil && $0.revision >= floor } ?? false
        let goneAtFloor = byKey[read.key]?.last { $0.revision <= floor }?.value == nil
        if !wasGone && !goneAtFloor { problems.append("read no \(read.key) after \(floor) had been acknowledged") }
      }
    }
    return problems
  }
}
