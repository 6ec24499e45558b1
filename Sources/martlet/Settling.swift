import Kernel

/// Keeps what a service holds near what it uses: when its start is behind it, and now and then, for bursts pass, too.
enum Settling {
  private static let afterStart = Duration.seconds(5)
  private static let every = Duration.seconds(600)

  /// Until cancelled.
  static func run() async throws {
    try await Task.sleep(for: afterStart)
    while true {
      await onFreshThread { _ = Memory.settle() }
      try await Task.sleep(for: every)
    }
  }
}
