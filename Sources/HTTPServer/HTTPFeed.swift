internal import NIOCore
internal import Synchronization

/// Where the bytes of an answer come from that comes about bit by bit.
package struct HTTPFeed: Sendable {
  package enum Turn: Sendable {
    case parts([[UInt8]])
    /// Nothing now: the bell will ring.
    case nothing
    case end
  }

  /// What there is to send. Never called twice at a time, and only while the client takes more; must not block.
  fileprivate let next: @Sendable () -> Turn
  /// Takes the bell: to be rung whenever `next` has something, from any thread, once it was told of nothing. Nil takes it
  /// back.
  fileprivate let onReady: @Sendable ((@Sendable () -> Void)?) -> Void

  package init(
    next: @escaping @Sendable () -> Turn, onReady: @escaping @Sendable ((@Sendable () -> Void)?) -> Void
  ) {
    self.next = next
    self.onReady = onReady
  }

  /// Without a connection: the same by a task.
  func run(_ send: @Sendable ([[UInt8]]) async throws(HTTPBodyError) -> Void) async throws(HTTPBodyError) {
    let (bells, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    onReady { bell.yield() }
    defer { onReady(nil) }
    bell.yield()
    for await _ in bells {
      turns: while true {
        switch next() {
        case .parts(let parts): try await send(parts)
        case .nothing: break turns
        case .end: return
        }
      }
    }
  }
}

/// A feed on its connection's loop.
final class FeedRun: Sendable {
  private struct State {
    var done: CheckedContinuation<Bool, Never>?
    var isOver = false
  }

  private let feed: HTTPFeed
  private let link: ExchangeLink
  private let executor: LoopExecutor
  private let state = Mutex(State())

  init(_ feed: HTTPFeed, _ link: ExchangeLink, _ executor: LoopExecutor) {
    self.feed = feed
    self.link = link
    self.executor = executor
  }

  /// Returns when the feed has ended, or the task is cancelled, as it is when the server stops: what was sent is whole.
  /// - Throws: `.disconnected`.
  func run() async throws(HTTPBodyError) {
    let isWhole = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if !state.isOver { state.done = continuation }
          return state.isOver
        }
        if isOver { return continuation.resume(returning: true) }
        feed.onReady { [self] in executor.ring(self) }
        executor.ring(self)
      }
    } onCancel: {
      finish(isWhole: true)
    }
    feed.onReady(nil)
    if !isWhole { throw .disconnected }
  }

  private func finish(isWhole: Bool) {
    let done = state.withLock { state in
      state.isOver = true
      return state.done.take()
    }
    done?.resume(returning: isWhole)
  }

  /// On the loop: sends what there is, as long as the client takes it.
  func turn() {
    while !state.withLock({ $0.isOver }) {
      guard link.isOpen else { return finish(isWhole: false) }
      guard link.isWritable else { return link.whenWritable { [self] in executor.ring(self) } }
      switch feed.next() {
      case .parts(let parts): link.write(parts)
      case .nothing: return
      case .end: return finish(isWhole: true)
      }
    }
  }
}
