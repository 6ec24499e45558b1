internal import Synchronization

/// The other end of a body that is made while it is read.
package final class KubeBodyWriter: Sendable {
  private struct State {
    var chunks: [[UInt8]] = []
    var bytes = 0
    var end: Result<Void, KubeError>?
    var isAbandoned = false
  }
  private let state = Mutex(State())
  private let readable = Signal()
  private let writable = Signal()
  private let bytesMax: Int

  fileprivate init(bytesMax: Int) { self.bytesMax = bytesMax }

  /// Hands over a piece; waits while as much as the body may hold has not been read.
  /// - Throws: `.cancelled` once nobody reads any more.
  package func write(_ chunk: [UInt8]) async throws(KubeError) {
    guard !chunk.isEmpty else { return }
    while true {
      if Task.isCancelled { throw .cancelled("write") }
      let isTaken = try state.withLock { state throws(KubeError) -> Bool in
        if state.isAbandoned { throw .cancelled("write") }
        guard state.bytes < bytesMax else { return false }
        state.chunks.append(chunk)
        state.bytes += chunk.count
        return true
      }
      if isTaken { return readable.raise() }
      await writable.wait()
    }
  }

  fileprivate func end(_ result: Result<Void, KubeError>) {
    state.withLock { $0.end = $0.end ?? result }
    readable.raise()
  }

  fileprivate func abandon() {
    state.withLock { state in
      state.isAbandoned = true
      state.chunks = []
    }
    writable.raise()
  }

  fileprivate func next() async throws(KubeError) -> [UInt8]? {
    while true {
      if Task.isCancelled { throw .cancelled("read") }
      let (chunk, end) = state.withLock { state -> ([UInt8]?, Result<Void, KubeError>?) in
        guard !state.chunks.isEmpty else { return (nil, state.end) }
        let all = state.chunks.count == 1 ? state.chunks[0] : Array(state.chunks.joined())
        (state.chunks, state.bytes) = ([], 0)
        return (all, nil)
      }
      if let chunk {
        writable.raise()
        return chunk
      }
      if let end {
        try end.get()
        return nil
      }
      await readable.wait()
    }
  }
}

extension KubeBody {
  /// A body that `produce` writes while it is read: what joins a server that pushes to this client within a process.
  ///
  /// `produce` runs in a task that is cancelled when nobody holds the body any more.
  /// - Parameter bufferedBytesMax: bytes that wait to be read before writing waits.
  package static func produced(
    bufferedBytesMax: Int = 256 << 10, by produce: @escaping @Sendable (KubeBodyWriter) async throws -> Void
  ) -> KubeBody {
    let writer = KubeBodyWriter(bytesMax: bufferedBytesMax)
    let task = Task {
      do {
        try await produce(writer)
        writer.end(.success(()))
      } catch let error as KubeError {
        writer.end(.failure(error))
      } catch {
        writer.end(.failure(KubeError(.connection(wasSent: true), message: "the answer broke off: \(error)")))
      }
    }
    return KubeBody(
      next: { () throws(KubeError) in try await writer.next() },
      cancel: {
        task.cancel()
        writer.abandon()
      })
  }
}
