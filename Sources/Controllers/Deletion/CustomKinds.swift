internal import JSON
internal import KubeClient
internal import KubeModel
internal import Logging
internal import Synchronization

/// A CustomResourceDefinition, as far as it says where its objects are.
struct CustomDefinition: KubeResource {
  static let resource = ResourceType(
    group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
    kind: "CustomResourceDefinition", isNamespaced: false)
  static var apiVersion: String { resource.apiVersion }
  static var kind: String { resource.kind }
  var metadata = ObjectMeta()
  private var spec: JSONValue = .null

  init() {}

  mutating func decodeField(_ key: String, _ value: JSONValue, _ decoder: inout FieldDecoder) -> Bool {
    if key == "metadata" { decoder.decode(&metadata, value) }
    if key == "spec" {
      spec = [
        "group": value["group"] ?? .null, "names": value["names"] ?? .null, "scope": value["scope"] ?? .null,
        "versions": Self.versions(value),
      ]
    }
    return true
  }

  /// Without their schemas, which are the larger part.
  private static func versions(_ spec: JSONValue) -> JSONValue {
    .array(
      (spec["versions"]?.array ?? []).map { version in
        [
          "name": version["name"] ?? .null, "served": version["served"] ?? .null,
          "storage": version["storage"] ?? .null,
        ]
      })
  }

  func encodeFields(_ encoder: inout FieldEncoder) { encoder.encode("metadata", metadata) }

  /// Where its objects are served: in the version that they are kept in, where that is. Nil: nowhere.
  var served: ResourceType? {
    let versions = (spec["versions"]?.array ?? []).filter { $0["served"]?.bool == true }
    guard let version = versions.first(where: { $0["storage"]?.bool == true }) ?? versions.first,
      let name = version["name"]?.string, let group = spec["group"]?.string,
      let plural = spec["names"]?["plural"]?.string, let kind = spec["names"]?["kind"]?.string
    else { return nil }
    return ResourceType(
      group: group, version: name, plural: plural, kind: kind, isNamespaced: spec["scope"]?.string == "Namespaced")
  }
}

/// Whether objects lie in namespaces.
protocol CustomScope: Sendable { static var isNamespaced: Bool { get } }
enum InNamespaces: CustomScope { static let isNamespaced = true }
enum InCluster: CustomScope { static let isNamespaced = false }

/// The metadata of an object of any custom kind. The path that it names leads to the kind that a client was made for.
struct CustomObject<Scope: CustomScope>: KubeResource {
  static var resource: ResourceType {
    ResourceType(
      group: CustomPath.group, version: "v1", plural: "objects", kind: kind, isNamespaced: Scope.isNamespaced)
  }
  static var apiVersion: String { "meta.k8s.io/v1" }
  static var kind: String { "PartialObjectMetadata" }
  var metadata = ObjectMeta()

  init() {}

  mutating func decodeField(_ key: String, _ value: JSONValue, _ decoder: inout FieldDecoder) -> Bool {
    if key == "metadata" { decoder.decode(&metadata, value) }
    return true
  }

  func encodeFields(_ encoder: inout FieldEncoder) { encoder.encode("metadata", metadata) }
}

/// How one type in the code stands for every custom kind: requests for it are sent to where the kind is, and only metadata
/// is asked for.
enum CustomPath {
  static let group = "any.martlet.dev"

  static func client(_ client: KubeClient, for resource: ResourceType) -> KubeClient {
    let transport = client.transport
    return KubeClient(
      transport: KubeTransport { request throws(KubeError) in
        var asked = request
        asked.path = path(request.path, resource)
        if request.method != .delete {
          let isList =
            request.method == .get && asked.path.hasSuffix("/\(resource.plural)")
            && !request.query.contains { $0.name == "watch" }
          asked.headers.removeAll { $0.name.lowercased() == "accept" }
          asked.headers.append(
            ("Accept", "application/json;as=PartialObjectMetadata\(isList ? "List" : "");g=meta.k8s.io;v=v1"))
        }
        return try await transport.send(asked)
      }, retry: client.retry, clock: client.clock, userAgent: client.userAgent)
  }

  static func path(_ path: String, _ resource: ResourceType) -> String {
    var parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    // "", apis, group, version, and then the plural or namespaces, a name, and the plural.
    guard parts.count > 4 else { return path }
    (parts[2], parts[3]) = (resource.group, resource.version)
    let place = parts[4] == "namespaces" && parts.count > 6 ? 6 : 4
    parts[place] = resource.plural
    return parts.joined(separator: "/")
  }
}

/// The custom kinds of the cluster as they come and go, each with a handle, and what happens to their objects.
final class CustomKinds: Sendable {
  typealias Handler = @Sendable (ResourceType, ObjectMeta, _ isGone: Bool) -> Void

  private struct Known: Sendable {
    var handle: any ResourceHandle
    var end: Signal
  }
  private struct State {
    /// By group and kind.
    var known: [String: Known] = [:]
    var handlers: [Handler] = []
  }
  private let state = Mutex(State())
  private let client: KubeClient

  init(client: KubeClient) { self.client = client }

  var handles: [any ResourceHandle] {
    state.withLock { state in state.known.values.map(\.handle) }.sorted { $0.resource.plural < $1.resource.plural }
  }

  /// Of whatever version.
  func handle(_ apiVersion: String, _ kind: String) -> (any ResourceHandle)? {
    guard let slash = apiVersion.firstIndex(of: "/") else { return nil }
    return state.withLock { $0.known["\(apiVersion[..<slash])/\(kind)"]?.handle }
  }

  /// To be called before `run`.
  func onChange(_ handler: @escaping Handler) { state.withLock { $0.handlers.append(handler) } }

  private func tell(_ resource: ResourceType, _ metadata: ObjectMeta, _ isGone: Bool) {
    for handler in state.withLock({ $0.handlers }) { handler(resource, metadata, isGone) }
  }

  /// Follows the definitions until cancelled.
  func run(_ logger: Logger) async throws {
    let definitions = Informer<CustomDefinition>(client: client, logger: logger)
    let changed = Signal()
    definitions.onChange { _ in changed.raise() }
    try await withThrowingDiscardingTaskGroup { group in
      group.addTask { try await definitions.run() }
      while !Task.isCancelled {
        let served = definitions.list().compactMap(\.served)
        let wanted = Dictionary(served.map { ("\($0.group)/\($0.kind)", $0) }) { first, _ in first }
        for (key, known) in state.withLock({ $0.known }) where wanted[key] != known.handle.resource {
          state.withLock { $0.known[key] = nil }
          known.end.raise()
        }
        for (key, resource) in wanted where state.withLock({ $0.known[key] }) == nil {
          let end = Signal()
          let own = CustomPath.client(client, for: resource)
          if resource.isNamespaced {
            add(key, CustomHandle<InNamespaces>(resource: resource, client: own), end)
            group.addTask { try await self.follow(InNamespaces.self, resource, own, end, logger) }
          } else {
            add(key, CustomHandle<InCluster>(resource: resource, client: own), end)
            group.addTask { try await self.follow(InCluster.self, resource, own, end, logger) }
          }
        }
        await changed.wait()
      }
      throw CancellationError()
    }
  }

  private func add(_ key: String, _ handle: any ResourceHandle, _ end: Signal) {
    state.withLock { $0.known[key] = Known(handle: handle, end: end) }
  }

  /// Until the definition is gone, or another.
  private func follow<Scope: CustomScope>(
    _ scope: Scope.Type, _ resource: ResourceType, _ client: KubeClient, _ end: Signal, _ logger: Logger
  ) async throws {
    let informer = Informer<CustomObject<Scope>>(client: client, logger: logger)
    informer.onChange { event in
      if case .deleted(let object) = event {
        self.tell(resource, object.metadata, true)
      } else {
        self.tell(resource, event.object.metadata, false)
      }
    }
    await withTaskGroup(of: Void.self) { group in
      group.addTask { try? await informer.run() }
      group.addTask { await end.wait() }
      await group.next()
      group.cancelAll()
    }
    try Task.checkCancellation()
    // With the definition every object went.
    for object in informer.list() { tell(resource, object.metadata, true) }
  }
}

/// One custom kind.
struct CustomHandle<Scope: CustomScope>: ResourceHandle {
  let resource: ResourceType
  /// Leads to the kind.
  let client: KubeClient
  private typealias Object = CustomObject<Scope>

  /// Told by `CustomKinds`, which knows when the kind is gone.
  func onChange(_ informers: Informers, _ handler: @escaping @Sendable (ObjectMeta, Bool) -> Void) {}

  func get(name: String, namespace: String?) async throws(KubeError) -> ObjectMeta {
    try await client.get(Object.self, name: name, namespace: namespace).metadata
  }

  func list(namespace: String) async throws(KubeError) -> [ObjectMeta] {
    try await client.listAll(Object.self, namespace: namespace).items.map(\.metadata)
  }

  func patch(_ metadata: ObjectMeta, _ change: JSONValue) async throws(KubeError) {
    _ = try await client.patch(
      Object.self, name: metadata.name ?? "", namespace: metadata.namespace, .merge(change))
  }

  func delete(_ metadata: ObjectMeta, propagation: DeletePropagation) async throws(KubeError) {
    try await client.delete(
      Object.self, name: metadata.name ?? "", namespace: metadata.namespace, propagation: propagation,
      uid: metadata.uid, resourceVersion: metadata.resourceVersion)
  }

  func deleteAll(namespace: String) async throws(KubeError) {
    try await client.deleteCollection(Object.self, namespace: namespace, propagation: .background)
  }
}
