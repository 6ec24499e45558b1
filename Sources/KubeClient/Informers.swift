package import KubeModel
package import Logging
internal import Synchronization

/// The informers of a process, one for each resource and selection, shared by all who ask: each object is held once.
package final class Informers: Sendable {
  private struct Key: Hashable {
    var resource: ResourceType
    /// Whole objects, or a part of them.
    var type: ObjectIdentifier
    var namespace: String?
    var labelSelector: String?
    var fieldSelector: String?
  }
  private struct State {
    var informers: [Key: any AnyInformer] = [:]
    var waiting: [any AnyInformer] = []
  }
  private let state = Mutex(State())
  private let changed = Signal()
  private let client: KubeClient
  private let logger: Logger

  package init(client: KubeClient, logger: Logger = Logger(label: "martlet.informer")) {
    self.client = client
    self.logger = logger
  }

  /// The informer of this selection, made where there is none yet; `run` runs it, also where that was called before.
  package func informer<T: KubeResource>(
    _ type: T.Type = T.self, namespace: String? = nil, labelSelector: String? = nil, fieldSelector: String? = nil
  ) -> Informer<T> {
    let key = Key(
      resource: T.resource, type: ObjectIdentifier(T.self), namespace: namespace, labelSelector: labelSelector,
      fieldSelector: fieldSelector)
    let informer = state.withLock { state -> Informer<T> in
      if let known = state.informers[key] as? Informer<T> { return known }
      let made = Informer<T>(
        client: client, namespace: namespace, labelSelector: labelSelector, fieldSelector: fieldSelector,
        logger: logger)
      state.informers[key] = made
      state.waiting.append(made)
      return made
    }
    changed.raise()
    return informer
  }

  /// Runs all informers, also those made later, until cancelled. To be called once.
  /// - Throws: `CancellationError`, only.
  package func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      while !Task.isCancelled {
        let waiting = state.withLock { state -> [any AnyInformer] in
          defer { state.waiting = [] }
          return state.waiting
        }
        for informer in waiting { group.addTask { try await informer.run() } }
        await changed.wait()
      }
      throw CancellationError()
    }
  }

  /// Waits until every informer made so far has its first list.
  /// - Returns: false where `timeout` passed before that.
  @discardableResult
  package func waitForSync(timeout: Duration = .seconds(60)) async -> Bool {
    let all = state.withLock { Array($0.informers.values) }
    let deadline = client.clock.now() + timeout
    for informer in all {
      let left = deadline - client.clock.now()
      guard await informer.waitForSync(timeout: left) else { return false }
    }
    return true
  }
}

/// An informer of any resource.
private protocol AnyInformer: Sendable {
  func run() async throws
  func waitForSync(timeout: Duration) async -> Bool
}

extension Informer: AnyInformer {}
