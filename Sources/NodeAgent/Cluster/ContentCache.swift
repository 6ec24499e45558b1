internal import KubeClient
internal import KubeModel
internal import Logging
internal import PodTranslation
internal import Synchronization

/// The ConfigMaps and Secrets that the pods of this node refer to, each read and watched by its name, as long as a pod
/// refers to it: a node may see no others.
final class ContentCache: Sendable {
  private enum Content: Hashable, Sendable {
    case unknown
    case missing
    case configMap(ConfigMap)
    case secret(Secret)
  }
  private struct Entry {
    var content = Content.unknown
    /// Pods, by uid.
    var users: [String: ObjectKey] = [:]
    var task: Task<Void, Never>?
  }
  private struct State {
    var entries: [ContentReference: Entry] = [:]
    var references: [String: Set<ContentReference>] = [:]
    var waiting: [ContentReference] = []
    var isRunning = false
  }
  private let state = Mutex(State())
  private let arrived = Signal()
  private let client: KubeClient
  private let logger: Logger
  private let onChange: @Sendable (_ pods: [ObjectKey]) -> Void
  /// Before an object that could not be watched is read again.
  private let pause: Duration

  /// - Parameter onChange: told the pods whose content has come or changed; must not block.
  init(
    client: KubeClient, logger: Logger, pause: Duration = .seconds(10),
    onChange: @escaping @Sendable (_ pods: [ObjectKey]) -> Void
  ) {
    (self.client, self.logger, self.pause, self.onChange) = (client, logger, pause, onChange)
  }

  /// Says what the pod refers to now; what it referred to before is let go.
  func use(_ references: Set<ContentReference>, by uid: String, _ pod: ObjectKey) {
    let ended = state.withLock { state -> [Task<Void, Never>] in
      let before = state.references[uid] ?? []
      guard before != references else { return [] }
      state.references[uid] = references.isEmpty ? nil : references
      for reference in references.subtracting(before) {
        if state.entries[reference] == nil { state.waiting.append(reference) }
        state.entries[reference, default: Entry()].users[uid] = pod
      }
      return before.subtracting(references).compactMap { reference in
        state.entries[reference]?.users[uid] = nil
        guard state.entries[reference]?.users.isEmpty == true else { return nil }
        return state.entries.removeValue(forKey: reference)?.task
      }
    }
    for task in ended { task.cancel() }
    arrived.raise()
  }

  func release(_ uid: String) { use([], by: uid, ObjectKey(name: "")) }

  /// Whether all that the pod refers to has been looked up: found or not.
  func isReady(_ uid: String) -> Bool {
    state.withLock { state in
      (state.references[uid] ?? []).allSatisfy { state.entries[$0]?.content != .unknown }
    }
  }

  /// What there is of what the pod refers to.
  func objects(for uid: String) -> PodObjects {
    state.withLock { state in
      var objects = PodObjects()
      for reference in state.references[uid] ?? [] {
        switch state.entries[reference]?.content {
        case .configMap(let map): objects.configMaps[reference.name] = map
        case .secret(let secret): objects.secrets[reference.name] = secret
        case .missing, .unknown, nil: break
        }
      }
      return objects
    }
  }

  /// Follows what is referred to, until cancelled.
  func run() async {
    await withDiscardingTaskGroup { group in
      while !Task.isCancelled {
        let waiting = state.withLock { state -> [ContentReference] in
          defer { state.waiting = [] }
          return state.waiting
        }
        for reference in waiting { group.addTask { await self.follow(reference) } }
        await arrived.wait()
      }
      for task in state.withLock({ $0.entries.values.compactMap(\.task) }) { task.cancel() }
      group.cancelAll()
    }
  }

  /// In a task of its own, so that letting go of the reference ends it.
  private func follow(_ reference: ContentReference) async {
    let task = Task {
      while !Task.isCancelled {
        switch reference.kind {
        case .configMap: await self.follow(reference, ConfigMap.self) { .configMap($0) }
        case .secret: await self.follow(reference, Secret.self) { .secret($0) }
        }
      }
    }
    let isWanted = state.withLock { state -> Bool in
      guard state.entries[reference] != nil else { return false }
      state.entries[reference]?.task = task
      return true
    }
    if !isWanted { task.cancel() }
    await withTaskCancellationHandler {
      await task.value
    } onCancel: {
      task.cancel()
    }
  }

  /// Reads once, then watches until the watch ends.
  private func follow<T: KubeResource>(
    _ reference: ContentReference, _ type: T.Type, _ wrap: (T) -> Content
  ) async {
    do throws(KubeError) {
      var revision: String?
      do throws(KubeError) {
        let object = try await client.get(type, name: reference.name, namespace: reference.namespace)
        revision = object.metadata.resourceVersion
        take(reference, wrap(object))
      } catch {
        guard error.isNotFound else { throw error }
        take(reference, .missing)
      }
      // Without a revision the watch begins with what there is, so nothing that comes meanwhile is missed.
      let options = WatchOptions(fieldSelector: "metadata.name=\(reference.name)", resourceVersion: revision)
      for try await event in try await client.watch(type, namespace: reference.namespace, options) {
        switch event {
        case .added(let object), .modified(let object): take(reference, wrap(object))
        case .deleted: take(reference, .missing)
        case .bookmark: break
        case .error(let problem): throw problem
        }
      }
    } catch {
      if error.isCancelled || Task.isCancelled { return }
      logger.warning("\(reference.kind) \(reference.namespace)/\(reference.name): \(error); asked again in \(pause)")
      try? await client.clock.sleep(for: pause)
    }
  }

  private func take(_ reference: ContentReference, _ content: Content) {
    let users = state.withLock { state -> [ObjectKey] in
      guard let entry = state.entries[reference], entry.content != content else { return [] }
      state.entries[reference]?.content = content
      return Array(entry.users.values)
    }
    if !users.isEmpty { onChange(users) }
  }
}
