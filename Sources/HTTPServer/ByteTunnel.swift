/// Writes a response's body as it comes about.
package struct HTTPBodyWriter: Sendable {
  private let send: @Sendable ([[UInt8]]) async throws(HTTPBodyError) -> Void
  private let feedFrom: @Sendable (HTTPFeed) async throws(HTTPBodyError) -> Void

  /// - Parameter send: takes bytes, and returns once the next ones are welcome.
  package init(_ send: @escaping @Sendable ([[UInt8]]) async throws(HTTPBodyError) -> Void) {
    self.init(send) { feed throws(HTTPBodyError) in try await feed.run(send) }
  }

  init(
    _ send: @escaping @Sendable ([[UInt8]]) async throws(HTTPBodyError) -> Void,
    feed: @escaping @Sendable (HTTPFeed) async throws(HTTPBodyError) -> Void
  ) {
    self.send = send
    feedFrom = feed
  }

  /// Sends what `feed` has, whenever it has something, until it ends: on the connection's own thread, without waking this
  /// task for each part. What many clients wait for reaches all of one thread in one turn of it.
  /// A cancelled task ends it as well: the answer is whole as far as it came.
  /// - Throws: `.disconnected` once the client has left.
  package func write(from feed: HTTPFeed) async throws(HTTPBodyError) { try await feedFrom(feed) }

  /// Sends now, and waits while the client is slow.
  /// - Throws: `.disconnected` once the client has left.
  package func write(_ bytes: [UInt8]) async throws(HTTPBodyError) { try await send([bytes]) }

  /// The same for several parts that belong together, such as the events of one batch.
  package func write(_ parts: [[UInt8]]) async throws(HTTPBodyError) { try await send(parts) }
}

/// A connection after HTTP: bytes both ways, each direction closed by itself. One task reads, one writes.
package struct ByteTunnel: Sendable {
  private let readNext: @Sendable () async throws(HTTPBodyError) -> [UInt8]?
  private let send: @Sendable ([UInt8]) async throws(HTTPBodyError) -> Void
  private let finishWriting: @Sendable () async -> Void
  private let closeBoth: @Sendable () -> Void

  package init(
    read: @escaping @Sendable () async throws(HTTPBodyError) -> [UInt8]?,
    write: @escaping @Sendable ([UInt8]) async throws(HTTPBodyError) -> Void,
    closeWriting: @escaping @Sendable () async -> Void, close: @escaping @Sendable () -> Void
  ) {
    readNext = read
    send = write
    finishWriting = closeWriting
    closeBoth = close
  }

  /// The next bytes, never none; nil once the other side has closed its direction.
  package func read() async throws(HTTPBodyError) -> [UInt8]? { try await readNext() }

  /// Sends, and waits while the other side is slow.
  package func write(_ bytes: [UInt8]) async throws(HTTPBodyError) { try await send(bytes) }

  /// Tells the other side that nothing more comes; reading goes on.
  package func closeWriting() async { await finishWriting() }

  /// Ends both directions at once. Callable from anywhere, any number of times.
  package func close() { closeBoth() }
}

/// Carries bytes between two tunnels until both directions have ended, or either breaks; then closes both.
package func pipe(_ left: ByteTunnel, _ right: ByteTunnel) async {
  await withTaskCancellationHandler {
    await withDiscardingTaskGroup { group in
      group.addTask { await carry(from: left, to: right) }
      group.addTask { await carry(from: right, to: left) }
    }
  } onCancel: {
    left.close()
    right.close()
  }
  left.close()
  right.close()
}

private func carry(from source: ByteTunnel, to target: ByteTunnel) async {
  do throws(HTTPBodyError) {
    while let bytes = try await source.read() { try await target.write(bytes) }
    await target.closeWriting()
  } catch {
    // One end is gone: the other learns of it by the close, and the opposite direction ends with it.
    source.close()
    target.close()
  }
}
