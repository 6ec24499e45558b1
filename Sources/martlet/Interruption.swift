import Kernel
import Synchronization

/// What signals do to this program: the terminal is put right, then it ends as if the signal had killed it. A daemon among
/// the commands ends in order instead.
enum Interruption {
  private static let onWindowChange = Handler()
  private static let onStop = Handler()

  static func received(_ signal: TerminalSignal) {
    if signal == .windowChanged {
      onWindowChange.call()
      return
    }
    // The second time there is no handler left, and whoever asked twice does not want to wait.
    if onStop.callOnce() { return }
    Screen.leave()
    Terminal.restore()
    CurrentProcess.exitNow(128 + signal.number)
  }

  /// Calls `body` whenever the terminal's size changes, on a thread of its own.
  static func windowChanged(_ body: (@Sendable () -> Void)?) { onWindowChange.set(body) }

  /// Runs a daemon until it ends by itself or a signal asks it to: then its task is cancelled, and that it was is no error.
  static func endsInOrder(_ serve: @escaping @Sendable () async throws -> Void) async throws {
    let task = Task { try await serve() }
    let wasAsked = Mutex(false)
    onStop.set {
      wasAsked.withLock { $0 = true }
      task.cancel()
    }
    defer { onStop.set(nil) }
    do {
      try await withTaskCancellationHandler {
        try await task.value
      } onCancel: {
        task.cancel()
      }
    } catch is CancellationError where wasAsked.withLock({ $0 }) {}
  }
}
