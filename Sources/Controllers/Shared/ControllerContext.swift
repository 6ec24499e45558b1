internal import KubeClient
internal import KubeModel
internal import Logging

/// What every controller is made of.
struct ControllerContext: Sendable {
  let client: KubeClient
  let informers: Informers
  let configuration: ControllersConfiguration
  let logger: Logger

  /// The longest wait of a key whose passes keep failing.
  static let retryMax: Duration = .seconds(30)
  /// Calls that one pass has under way at a time.
  static let callsMax = 16

  var now: Time { Time(secondsSinceEpoch: client.clock.wallNanoseconds() / 1_000_000_000) }

  func queue<Key: Hashable & Sendable>(_ name: String, of: Key.Type = Key.self) -> WorkQueue<Key> {
    var limits = WorkQueue<Key>.Limits()
    limits.retryMax = Self.retryMax
    return WorkQueue(name: name, limits: limits, clock: client.clock, logger: logger)
  }

  func recorder(_ component: String) -> EventRecorder {
    EventRecorder(client: client, component: component, logger: logger)
  }

  /// Works on the keys of a queue and tells the events, until cancelled.
  func run<Key: Hashable & Sendable>(
    _ name: String, _ queue: WorkQueue<Key>, _ recorder: EventRecorder? = nil, workers: Int? = nil,
    _ pass: @escaping @Sendable (Key) async throws -> WorkOutcome
  ) async throws {
    var logger = logger
    logger[metadataKey: "controller"] = "\(name)"
    let log = logger
    try await withThrowingDiscardingTaskGroup { group in
      if let recorder { group.addTask { try await recorder.run() } }
      group.addTask {
        try await queue.run(workers: workers ?? configuration.workers) { key in
          do {
            return try await pass(key)
          } catch let error as KubeError where error.isNamespaceTerminating {
            // What is there goes with the namespace; nothing is to be made any more.
            return .done
          } catch let error as KubeError where error.isConflict || error.isNotFound {
            // The cache is behind; by the next pass it will not be.
            log.debug("\(key): \(error)")
            return .retry
          }
        }
      }
    }
  }

  /// Does something for each, a bounded number at a time.
  func forEach<Item: Sendable>(_ items: [Item], _ body: @escaping @Sendable (Item) async -> Void) async {
    await withTaskGroup(of: Void.self) { group in
      for (index, item) in items.enumerated() {
        if index >= Self.callsMax { await group.next() }
        group.addTask { await body(item) }
      }
    }
  }

  /// Writes the owners of an object, if it is still as it was read.
  func setOwners<Object: KubeResource>(_ object: Object, _ owners: [OwnerReference]) async throws(KubeError) {
    let _: Object = try await client.patch(
      name: object.metadata.name ?? "", namespace: object.metadata.namespace,
      .merge(MetadataPatch.owners(owners, of: object.metadata)))
  }

  /// Adopts and releases as claimed.
  /// - Parameter owner: as it was read; it is read anew before anything is adopted, since a cache does not show at once
  ///   that an owner is going.
  /// - Returns: all that the owner has now.
  func settle<Owner: KubeResource, Object: KubeResource>(
    _ claims: Claims<Object>, for owner: Owner
  ) async throws(KubeError) -> [Object] {
    var owned = claims.owned
    if !claims.adopted.isEmpty {
      let fresh: Owner = try await client.get(name: owner.metadata.name ?? "", namespace: owner.metadata.namespace)
      guard fresh.metadata.uid == owner.metadata.uid, !fresh.metadata.isDeleting else { return owned }
      for object in claims.adopted {
        var adopted = object
        adopted.metadata.ownerReferences.append(owner.asController)
        try await setOwners(object, adopted.metadata.ownerReferences)
        owned.append(adopted)
      }
    }
    for object in claims.released {
      do throws(KubeError) {
        try await setOwners(object, object.metadata.ownerReferences.filter { $0.uid != owner.metadata.uid })
      } catch {
        // Gone is as good as released.
        guard error.isNotFound else { throw error }
      }
    }
    return owned
  }
}

extension KubeError {
  /// The namespace of what was to be made is going: nothing is to be done about that.
  var isNamespaceTerminating: Bool {
    isForbidden && details?.causes.contains { $0.reason == "NamespaceTerminating" } ?? false
  }
}

/// The indexes that more than one controller reads.
enum Index {
  /// The uid of the controller.
  static let controller = "controller"
  /// The namespace of what has no controller.
  static let orphan = "orphan"
  static let namespace = "namespace"
  static let node = "node"

  static func addOwners<T: KubeResource>(to informer: Informer<T>) {
    informer.addIndex(controller) { $0.metadata.controllerReference.map { [$0.uid] } ?? [] }
    informer.addIndex(orphan) { $0.metadata.controllerReference == nil ? [$0.metadata.namespace ?? ""] : [] }
  }

  static func addNamespace<T: KubeResource>(to informer: Informer<T>) {
    informer.addIndex(namespace) { [$0.metadata.namespace ?? ""] }
  }
}
