internal import CSandbox
internal import Glibc
internal import Synchronization

/// One thread that waits for the packets of all shims, and calls whoever a socket belongs to. Its handlers run one after
/// another, must be short, and must not block.
package final class ShimReactor: Sendable {
  /// The process's one reactor. Its thread lives as long as the process.
  package static let shared = ShimReactor()

  private struct State {
    var handlers: [UInt64: @Sendable () -> Void] = [:]
    var lastToken: UInt64 = 0
    var isRunning = false
  }

  private let state = Mutex(State())
  private let epoll: CInt
  private static let eventsMax = 64

  private init() {
    epoll = csandbox_epoll_create()
    precondition(epoll >= 0, "epoll_create1: out of descriptors")
  }

  /// Calls `handler` whenever the channel can be read, until the token is given back.
  package func watch(_ channel: ShimChannel, _ handler: @escaping @Sendable () -> Void) throws(SyscallError) -> UInt64 {
    let (token, starts) = state.withLock { state -> (UInt64, Bool) in
      state.lastToken += 1
      state.handlers[state.lastToken] = handler
      defer { state.isRunning = true }
      return (state.lastToken, !state.isRunning)
    }
    do throws(SyscallError) {
      _ = try channel.withRaw { raw throws(SyscallError) in
        try syscall("epoll_ctl", on: "shim socket") { csandbox_epoll_add(epoll, raw, token) }
      }
    } catch {
      state.withLock { _ = $0.handlers.removeValue(forKey: token) }
      throw error
    }
    // Without a parent task: the thread belongs to the process.
    if starts { Task.detached { await onFreshThread { self.run() } } }
    return token
  }

  /// After this returns no new call of the handler begins; one may be under way.
  package func forget(_ channel: ShimChannel, token: UInt64) {
    state.withLock { _ = $0.handlers.removeValue(forKey: token) }
    channel.withRaw { raw in _ = csandbox_epoll_remove(epoll, raw) }
  }

  private func run() {
    var tokens = [UInt64](repeating: 0, count: Self.eventsMax)
    while true {
      // Safe: the array has room for as many tokens as the call is told.
      let count = unsafe csandbox_epoll_wait(epoll, &tokens, CInt(Self.eventsMax), -1)
      guard count > 0 else { continue }
      for token in tokens[..<Int(count)] {
        let handler = state.withLock { $0.handlers[token] }
        handler?()
      }
    }
  }
}
