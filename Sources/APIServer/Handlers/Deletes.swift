import HTTPServer
import JSON
import KubeModel
import ObjectStore

extension APIServer {
  private static let deleteAttemptsMax = 10
  static let orphanFinalizer = "orphan"
  static let foregroundFinalizer = "foregroundDeletion"

  /// How a deletion went.
  enum Deletion: Sendable {
    case gone(AnsweredObject)
    /// It has been marked, and goes when its node or the last finalizer says so.
    case pending(AnsweredObject)

    var object: AnsweredObject {
      switch self {
      case .gone(let object), .pending(let object): object
      }
    }
  }

  func delete(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    let options = try await deleteOptions(context)
    switch try await delete(context, key: context.key, name: context.info.name, options) {
    case .pending(let object): return try answer(object, context)
    case .gone(let object):
      if context.resource.strategy.returnsDeleted { return try answer(object, context) }
      let metadata = ObjectMetadata(try document(object, context.resource))
      var details = APIStatus.Details()
      details.name = metadata.name
      details.group = context.resource.type.group
      details.kind = context.resource.type.plural
      details.uid = metadata.uid
      return encoded(APIStatus.success(details), context.negotiated.encoding)
    }
  }

  private func deleteOptions(_ context: RequestContext) async throws(APIStatus) -> DeleteOptions {
    let bytes = try await body(context.request)
    guard !bytes.isEmpty else { return try DeleteOptions(context.query, body: nil) }
    let value = try parse(bytes, try Self.encoding(context.request), kind: "DeleteOptions")
    guard let object = value.object else {
      throw .badRequest(
        "the object provided is unrecognized (must be of type DeleteOptions): json: cannot unmarshal "
          + "\(value.kindName) into Go value of type v1.DeleteOptions")
    }
    let kind = object.text("kind")
    guard kind.isEmpty || kind == "DeleteOptions" else {
      throw .badRequest("\(kind) cannot be handled as a DeleteOptions: no kind \"\(kind)\" is served here")
    }
    return try DeleteOptions(context.query, body: value)
  }

  /// Deletes one object, or begins to. Anew where it changed meanwhile, unless a precondition says of what it is.
  func delete(
    _ context: RequestContext, key: String, name: String, _ options: DeleteOptions
  ) async throws(APIStatus) -> Deletion {
    let resource = context.resource
    if resource.type.plural == "namespaces", Self.immortalNamespaces.contains(name) {
      throw .forbidden(resource.qualified, name, "this namespace may not be deleted")
    }
    for _ in 0..<Self.deleteAttemptsMax {
      guard let stored = store.get(key) else { throw .notFound(resource.qualified, name) }
      let current = AnsweredObject(value: stored.value, revision: stored.revision)
      guard let object = try document(current, resource).object else {
        throw .internalError("read \(key): not an object")
      }
      try checkPreconditions(options, ObjectMetadata(object), resource, name)
      try await checkByWebhooks(nil, old: object, "DELETE", context)
      let plan = DeletionPlan(object, resource, options, now: context.now)
      if options.isDryRun { return .pending(AnsweredObject(value: plan.stored(resource), revision: stored.revision)) }
      var transaction = Transaction(checks: [key: stored.revision])
      switch plan.action {
      case .nothing:
        // Once more what may have failed the first time.
        if Self.isDefinition(resource) { await clearDefinition(name, context) }
        return .pending(current)
      case .mark(let marked): transaction.puts = [(key, resource.stored(marked))]
      case .remove:
        try checkEmptiness(resource, name)
        transaction.deletes = [key]
      }
      do throws(StoreError) {
        let revision = try await store.commit(transaction)
        let answered = AnsweredObject(value: plan.stored(resource), revision: revision)
        guard case .remove = plan.action else {
          if Self.isDefinition(resource) { await clearDefinition(name, context) }
          if resource.type.group.isEmpty, resource.type.plural == "namespaces" {
            await clearCustomObjects(namespace: name, context)
          }
          return .pending(answered)
        }
        forget(object, resource, key: key)
        await restore(key: key)
        if let custom = resource.custom, custom.isTerminating { await finishDefinition(custom.definition) }
        return .gone(answered)
      } catch {
        guard case .conflict = error else { throw status(error) }
      }
    }
    throw .conflict(resource.qualified, name)
  }

  private func checkPreconditions(
    _ options: DeleteOptions, _ metadata: ObjectMetadata, _ resource: ServedResource, _ name: String
  ) throws(APIStatus) {
    if let uid = options.preconditionUID, uid != metadata.uid {
      throw .conflict(
        resource.qualified, name,
        "Precondition failed: UID in precondition: \(uid), UID in object meta: \(metadata.uid)")
    }
    if let version = options.preconditionVersion, version != metadata.resourceVersion {
      throw .conflict(
        resource.qualified, name,
        "Precondition failed: ResourceVersion in precondition: \(version), ResourceVersion in object meta: "
          + metadata.resourceVersion)
    }
  }

  /// That a namespace which is about to go holds nothing any more: whatever a finalizer still holds would be out of
  /// everybody's reach. Nothing can come to it meanwhile, since it has been marked.
  /// - Throws: `Conflict`, for whoever empties it to come back.
  func checkEmptiness(_ resource: ServedResource, _ name: String) throws(APIStatus) {
    guard resource.type.group.isEmpty, resource.type.plural == "namespaces" else { return }
    for content in resources.stored where content.type.isNamespaced {
      let left = store.list(prefix: content.prefix(namespace: name), limit: 1)
      guard !left.objects.isEmpty else { continue }
      let count = left.objects.count + left.remaining
      throw .conflict(
        resource.qualified, name, "the namespace is not empty: \(count) of \(content.qualified) remain")
    }
  }

  /// What goes with an object that has gone: its addresses, and what selectors saw of it.
  func forget(_ object: JSONObject, _ resource: ServedResource, key: String) {
    index.forget(key)
    if resource.type.plural == "services" { allocations.release(object) }
  }

  /// DELETE of a collection: each object as DELETE would, page by page.
  func deleteCollection(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    var options = try ListOptions(context.query, isWatch: false)
    let selection = try Selection(options, context.resource, index)
    let deleteOptions = try await deleteOptions(context)
    let limit = options.limit
    options.limit = limit ?? configuration.collectionPage
    var found: [JSONValue] = []
    var metadata: JSONObject = [:]
    while true {
      let page = try await page(context.resource, namespace: context.namespace, options, selection)
      metadata = page.metadata.without("remainingItemCount")
      for object in page.objects {
        let document = try document(AnsweredObject(value: object.value, revision: object.revision), context.resource)
        let name = ObjectMetadata(document).name
        do throws(APIStatus) {
          _ = try await delete(context, key: object.key, name: name, deleteOptions)
          found.append(document)
        } catch {
          guard error.code == 404 else { throw error }
        }
      }
      guard limit == nil, let token = page.continueToken else { break }
      options.continueToken = token
      options.resourceVersion = nil
    }
    return encoded(formed(found, list: metadata, context), context.negotiated.encoding)
  }
}

/// What a deletion does to one object, decided from the object and the options alone.
///
/// https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and
/// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
struct DeletionPlan {
  enum Action {
    /// A deletion is under way, and this one asks for nothing sooner.
    case nothing
    case mark(JSONObject)
    case remove
  }

  private(set) var action: Action
  private let object: JSONObject

  /// A longer grace is as good as this one, and would leave the calendar.
  private static let graceSecondsMax: Int64 = 1 << 31

  init(_ object: JSONObject, _ resource: ServedResource, _ options: DeleteOptions, now: Int64) {
    self.object = object
    action = .nothing
    let metadata = ObjectMetadata(object)
    let finalizers = Self.finalizers(metadata.finalizers, options)
    switch resource.type.plural {
    case "pods": action = Self.pod(object, finalizers, options, now)
    case "namespaces":
      var marked = Self.marked(object, finalizers, graceSeconds: nil, now)
      guard metadata.deletionTimestamp == nil else {
        let isEmpty = metadata.finalizers.isEmpty && object[object: "spec"]["finalizers"]?.array?.isEmpty ?? true
        action = isEmpty ? .remove : .nothing
        return
      }
      marked[object: "status"]["phase"] = "Terminating"
      action = .mark(marked)
    default:
      if finalizers.isEmpty {
        action = .remove
      } else if metadata.deletionTimestamp == nil || finalizers != metadata.finalizers {
        action = .mark(Self.marked(object, finalizers, graceSeconds: 0, now))
      }
    }
  }

  /// The document that the deletion leaves, or left last.
  func stored(_ resource: ServedResource) -> [UInt8] {
    if case .mark(let marked) = action { return resource.stored(marked) }
    return resource.stored(object)
  }

  /// Whether dependents are to be orphaned or waited for stands among the finalizers, for the garbage collector.
  private static func finalizers(_ existing: [String], _ options: DeleteOptions) -> [String] {
    guard let propagation = options.propagation else { return existing }
    var finalizers = existing.filter { $0 != APIServer.orphanFinalizer && $0 != APIServer.foregroundFinalizer }
    switch propagation {
    case .orphan: finalizers.append(APIServer.orphanFinalizer)
    case .foreground: finalizers.append(APIServer.foregroundFinalizer)
    case .background: break
    }
    return finalizers
  }

  private static func marked(
    _ object: JSONObject, _ finalizers: [String], graceSeconds: Int64?, _ now: Int64
  ) -> JSONObject {
    var marked = object
    var metadata = object[object: "metadata"]
    metadata["finalizers"] = finalizers.isEmpty ? nil : JSONValue(finalizers)
    if metadata["deletionTimestamp"] == nil {
      metadata["deletionTimestamp"] = .string(ObjectNames.time(now + (graceSeconds ?? 0)))
      if let generation = metadata["generation"]?.integer { metadata["generation"] = .integer(generation + 1) }
    }
    if let graceSeconds { metadata["deletionGracePeriodSeconds"] = .integer(graceSeconds) }
    marked["metadata"] = .object(metadata)
    return marked
  }

  /// A pod is given its time; it goes at once where no node has it, or where it has ended.
  private static func pod(
    _ object: JSONObject, _ finalizers: [String], _ options: DeleteOptions, _ now: Int64
  ) -> Action {
    let metadata = ObjectMetadata(object)
    if metadata.deletionTimestamp != nil, let pending = metadata.deletionGraceSeconds {
      guard let asked = options.graceSeconds else { return .nothing }
      let wished = min(asked, graceSecondsMax)
      guard max(0, wished) < pending || wished == 0 else { return .nothing }
      if wished <= 0, finalizers.isEmpty { return .remove }
      guard wished < pending || finalizers != metadata.finalizers else { return .nothing }
      var marked = marked(object, finalizers, graceSeconds: max(0, wished), now)
      if let began = metadata.deletionTimestamp.flatMap({ ObjectNames.seconds($0) }) {
        marked[object: "metadata"]["deletionTimestamp"] = .string(ObjectNames.time(began - pending + max(0, wished)))
      }
      return .mark(marked)
    }
    let spec = object[object: "spec"]
    var grace = min(options.graceSeconds ?? spec["terminationGracePeriodSeconds"]?.integer ?? 0, graceSecondsMax)
    let phase = object[object: "status"].text("phase")
    if spec.text("nodeName").isEmpty || phase == "Failed" || phase == "Succeeded" { grace = 0 }
    if grace < 0 { grace = 1 }
    if grace == 0, finalizers.isEmpty { return .remove }
    return .mark(marked(object, finalizers, graceSeconds: grace, now))
  }
}
