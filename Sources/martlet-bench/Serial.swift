import Synchronization

/// Numbers for names, from 1.
final class Serial: Sendable {
  private let last = Atomic(0)

  func next() -> Int { last.add(1, ordering: .relaxed).newValue }
}
