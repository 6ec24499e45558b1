package import HTTPServer
import JSON
import Kernel
import KubeSchema
package import Logging
package import ObjectStore
import Synchronization

/// The API server: objects of the table's kinds over HTTP, with the semantics that clients of Kubernetes rely on.
///
/// `respond` answers one request; it neither blocks a thread nor throws. Reads are answered from the store's memory.
/// https://kubernetes.io/docs/reference/using-api/api-concepts/
package final class APIServer: Sendable {
  let configuration: APIServerConfiguration
  let store: ObjectStore
  let access: Access
  let logger: Logger
  let schema: Schema
  let resources: ServedResources
  let index = SelectionIndex()
  let encodings: EncodedObjects
  let metrics = RequestMetrics()
  private let shelf: DocumentShelf
  let allocations: ServiceAllocations
  let quotas = QuotaLedger()
  let policies: PolicyRegistry
  let inFlight: InFlight

  package init(configuration: APIServerConfiguration, store: ObjectStore, access: Access, logger: Logger) {
    self.configuration = configuration
    self.store = store
    self.access = access.attached(to: store, now: configuration.now)
    self.logger = logger
    schema = .kubernetes
    resources = ServedResources(schema, CustomResources(store: store, schema: schema, logger: logger))
    policies = PolicyRegistry(store: store, logger: logger)
    encodings = EncodedObjects(bytesMax: configuration.encodedBytesMax)
    shelf = DocumentShelf(schema, configuration, resources.custom)
    allocations = ServiceAllocations(
      networks: [ServiceNetwork(configuration.serviceNetwork)] + configuration.moreServiceNetworks,
      ports: configuration.nodePorts)
    inFlight = InFlight(
      all: .init(
        reads: configuration.readsInFlightMax, writes: configuration.writesInFlightMax,
        watches: configuration.watchesMax),
      ofUser: .init(
        reads: configuration.readsOfUserMax, writes: configuration.writesOfUserMax,
        watches: configuration.watchesOfUserMax))
    rebuildAllocations()
  }

  var documents: Documents { shelf.current }

  /// Reads the objects of a store for authorization and for the way to the nodes. Memory only.
  package static func reader(_ store: ObjectStore) -> ObjectReader {
    ObjectReader(
      object: { key in store.get(key).flatMap { try? JSONValue.parse($0.value) } },
      objects: { prefix in store.list(prefix: prefix).objects.compactMap { try? JSONValue.parse($0.value) } })
  }

  /// Answers one request. Never throws; a failure is a Status.
  package func respond(to request: HTTPRequest) async -> HTTPResponse {
    guard let audit = access.audit else { return await respondUnaudited(to: request) }
    return await audited(request, audit) { await respondUnaudited(to: $0) }
  }

  private func respondUnaudited(to request: HTTPRequest) async -> HTTPResponse {
    let started = SystemClock.bootNanoseconds
    let info = RequestInfo(method: request.method, path: request.path, query: request.query)
    let resource =
      info.isResourceRequest ? resources.resource(apiVersion: info.apiVersion, plural: info.resource) : nil
    var response: HTTPResponse
    do throws(APIStatus) {
      response = try await admitted(request, info, resource)
    } catch {
      response = answer(error, to: request)
    }
    metrics.record(
      info, code: response.status, nanoseconds: SystemClock.bootNanoseconds - started, isKnown: resource != nil)
    return response
  }

  /// Authenticates, authorizes and bounds, then answers.
  private func admitted(
    _ request: HTTPRequest, _ info: RequestInfo, _ resource: ServedResource?
  ) async throws(APIStatus) -> HTTPResponse {
    let user: UserInfo
    do throws(AccessRefusal) {
      // Whoever asks whether the server lives need not say who they are.
      if request.peer == .anonymous, documents.isPublic(info.path) {
        user = .anonymous
      } else {
        user = try access.effectiveUser(try access.user(of: request), of: request)
        try access.check(user, info.attributes)
      }
    } catch {
      return error.response
    }
    guard let pass = inFlight.enter(info, user) else {
      throw .tooManyRequests(retryAfterSeconds: InFlight.retryAfterSeconds)
    }
    defer { pass.leave() }
    guard info.isResourceRequest else { return try await document(request, info) }
    if info.group == UsageMetrics.group { return try await usage(request, info) }
    guard let resource else { return Self.pageNotFound }
    return try await handle(request, info, user, resource)
  }

  /// What a path that leads nowhere is answered with.
  static var pageNotFound: HTTPResponse {
    var response = HTTPResponse.text("404 page not found\n", status: 404)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
  }
}

/// What the server is told when it is made, with its bounds.
package struct APIServerConfiguration: Sendable {
  /// Of Services.
  package var serviceNetwork: IPv4Network
  /// Further ranges of Services, of the other family.
  package var moreServiceNetworks: [ServiceNetwork] = []
  package var nodePorts: ClosedRange<UInt16> = 30000...32767
  /// Where clients reach this server: the endpoint of the Service `kubernetes`.
  package var advertiseAddress: String
  package var securePort: UInt16 = 6443
  /// Given to pods of every namespace as `kube-root-ca.crt`.
  package var authorityPEM: String

  /// A request's body.
  package var bodyBytesMax = 3 << 20
  package var documentDepthMax = 64
  package var patchOperationsMax = 10_000
  package var readsInFlightMax = 400
  package var writesInFlightMax = 200
  package var watchesMax = 10_000
  /// Of one user who is no administrator, at a time.
  package var readsOfUserMax = 200
  package var writesOfUserMax = 100
  package var watchesOfUserMax = 5_000
  /// A watch that names no timeout ends between this and twice this.
  package var watchSecondsMin = 1800
  package var bookmarkSeconds = 60.0
  package var eventSeconds: Int64 = 3600
  /// Protobuf messages of objects that are kept for the next reader, in bytes.
  package var encodedBytesMax = 8 << 20
  /// Objects that one deletecollection removes at a time.
  package var collectionPage = 100
  /// Seconds since 1970; tests set it.
  package var now: @Sendable () -> Int64 = { SystemClock.wallNanoseconds / 1_000_000_000 }

  package init(serviceNetwork: IPv4Network, advertiseAddress: String, authorityPEM: String = "") {
    self.serviceNetwork = serviceNetwork
    self.advertiseAddress = advertiseAddress
    self.authorityPEM = authorityPEM
  }
}

extension ServiceNetwork {
  /// The first address that a Service may have: in the cluster's main range that of `kubernetes`.
  package var first: String? { address(1).map { "\($0)" } }
}

extension RequestInfo {
  var attributes: AccessAttributes {
    AccessAttributes(
      verb: verb, group: group, version: version, resource: resource, subresource: subresource, namespace: namespace,
      name: name, path: path, nameSelector: fieldSelector?.onlyName ?? "",
      nodeSelector: fieldSelector?.only("spec.nodeName") ?? "")
  }
}
