import HTTPServer
import JSON
import KubeModel
import KubeValidation
import ObjectStore

extension APIServer {
  /// Times that a change is worked out anew when the object changed meanwhile.
  private static let updateAttemptsMax = 10

  /// What an update may change.
  enum UpdateScope: Sendable {
    /// Everything but the status.
    case object
    case status
    /// The finalizers in a namespace's spec.
    case finalize
    /// Containers that are added to a running pod.
    case ephemeralContainers
    /// CPU and memory of containers of a running pod.
    case resize
    /// Everything; for the server's own changes.
    case everything

    init(_ subresource: String) {
      switch subresource {
      case "status": self = .status
      case "finalize": self = .finalize
      case "ephemeralcontainers": self = .ephemeralContainers
      case "resize": self = .resize
      default: self = .object
      }
    }
  }

  /// PUT.
  func update(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    let options = try WriteOptions(context.query, kind: "UpdateOptions")
    let type = context.resource.type
    let encoding = try Self.encoding(context.request)
    let bytes = try await body(context.request)
    let read = try checked(try parse(bytes, encoding, kind: type.kind), of: context.resource, options.fieldValidation)
    var document = read.object
    var metadata = document[object: "metadata"]
    metadata.setDefault("name", .string(context.info.name))
    guard metadata.text("name") == context.info.name else {
      throw .badRequest(
        "the name of the object (\(metadata.text("name"))) does not match the name on the URL (\(context.info.name))")
    }
    try Self.placeInNamespace(&metadata, context)
    document["metadata"] = .object(metadata)
    if store.get(context.key) == nil, context.info.subresource.isEmpty, context.resource.strategy.allowsCreateOnUpdate,
      metadata.text("uid").isEmpty
    {
      metadata["resourceVersion"] = nil
      document["metadata"] = .object(metadata)
      let created = try await create(document, in: context, options)
      return try answer(created, context, code: 201, warnings: read.warnings)
    }
    let replacement = document
    let updated = try await change(context, UpdateScope(context.info.subresource), isDryRun: options.isDryRun) {
      _ throws(APIStatus) in replacement
    }
    return try answer(updated, context, warnings: read.warnings)
  }

  /// Changes an object by a function of what is stored, in one transaction; anew where somebody was faster, which fails
  /// where the new version names the revision that it is of.
  /// - Parameter transform: from the stored document, with its resourceVersion, to the new one.
  func change(
    _ context: RequestContext, _ scope: UpdateScope, isDryRun: Bool = false, _ ownership: FieldOwnership = .ofWriter,
    _ transform: (JSONObject) throws(APIStatus) -> JSONObject
  ) async throws(APIStatus) -> AnsweredObject {
    for attempt in 1... {
      guard let stored = store.get(context.key) else { throw context.notFound() }
      let current = AnsweredObject(value: stored.value, revision: stored.revision)
      guard let old = try document(current, context.resource).object else {
        throw .internalError("read \(context.key): not an object")
      }
      let wanted = try transform(old)
      try checkPreconditions(wanted, old, context)
      do throws(APIStatus) {
        return try await store(wanted, old: old, stored, context, scope, ownership, isDryRun: isDryRun)
      } catch {
        guard error.reason == "Conflict", error.message.hasSuffix(APIStatus.modified),
          attempt < Self.updateAttemptsMax
        else { throw error }
      }
    }
    throw .internalError("unreachable")
  }

  private func checkPreconditions(
    _ wanted: JSONObject, _ old: JSONObject, _ context: RequestContext
  ) throws(APIStatus) {
    let (new, current) = (ObjectMetadata(wanted), ObjectMetadata(old))
    if !new.uid.isEmpty, new.uid != current.uid {
      throw .conflict(
        context.resource.qualified, context.info.name,
        "Precondition failed: UID in precondition: \(new.uid), UID in object meta: \(current.uid)")
    }
    if new.resourceVersion.isEmpty || new.resourceVersion == "0" {
      guard context.resource.strategy.allowsUnconditionalUpdate else {
        throw .invalid(
          kind: context.resource.kind, group: context.resource.type.group, name: context.info.name,
          errors: [
            FieldError(
              path: "metadata.resourceVersion", reason: .invalid, value: .integer(0),
              detail: "must be specified for an update")
          ])
      }
    } else if new.resourceVersion != current.resourceVersion {
      guard Int64(new.resourceVersion) != nil else {
        throw .invalid(
          kind: context.resource.kind, group: context.resource.type.group, name: context.info.name,
          errors: [
            FieldError(
              path: "metadata.resourceVersion", reason: .invalid, value: .string(new.resourceVersion),
              detail: "must be a revision that this server gave")
          ])
      }
      throw .conflict(context.resource.qualified, context.info.name)
    }
  }

  /// Prepares, validates and commits one version of an object.
  private func store(
    _ wanted: JSONObject, old: JSONObject, _ stored: StoredObject, _ context: RequestContext, _ scope: UpdateScope,
    _ ownership: FieldOwnership, isDryRun: Bool
  ) async throws(APIStatus) -> AnsweredObject {
    let resource = context.resource
    var object = prepareForUpdate(wanted, old: old, scope, context)
    let allocation: ServiceAllocation
    if scope == .object {
      try admitUpdate(&object, old: old, context)
      object = try await mutatedByWebhooks(object, old: old, "UPDATE", context)
      allocation = try allocate(&object, old: old, context)
    } else {
      allocation = .none
    }
    do throws(APIStatus) {
      try validateUpdate(object, old: old, scope, context)
      if scope == .object || scope == .status { try await checkByWebhooks(object, old: old, "UPDATE", context) }
      if scope == .object || scope == .resize { try checkAdmitted(object, old: old, context) }
      if scope == .resize { try checkLimits(object, context) }
    } catch {
      allocation.undo()
      throw error
    }
    if scope == .object, Self.isDefinition(resource) { settleDefinition(&object, old: old, context.now) }
    noteWriter(&object, old: old, wanted: wanted, ownership, context)
    let value = resource.stored(object)
    let isDeletion = isDeletedByUpdate(object, resource)
    if isDeletion { try checkEmptiness(resource, context.info.name) }
    if isDryRun {
      allocation.undo()
      return AnsweredObject(value: value, revision: stored.revision)
    }
    if !isDeletion, value == stored.value || Self.isSame(object, old) {
      allocation.undo()
      return AnsweredObject(value: stored.value, revision: stored.revision)
    }
    do throws(StoreError) {
      let transaction =
        isDeletion
        ? Transaction(checks: [stored.key: stored.revision], deletes: [stored.key])
        : Transaction(checks: [stored.key: stored.revision], puts: [(stored.key, value)])
      let revision = try await store.commit(transaction)
      allocation.keep()
      if isDeletion {
        forget(object, resource, key: stored.key)
        if let custom = resource.custom, custom.isTerminating { await finishDefinition(custom.definition) }
      }
      return AnsweredObject(value: value, revision: revision)
    } catch {
      allocation.undo()
      if case .conflict(_, let actual) = error {
        throw actual == 0 ? context.notFound() : .conflict(resource.qualified, context.info.name)
      }
      throw status(error)
    }
  }

  /// Whether two versions say the same, in whatever order.
  private static func isSame(_ one: JSONObject, _ other: JSONObject) -> Bool {
    func comparable(_ object: JSONObject) -> JSONObject {
      var object = object
      object["metadata"] = .object(object[object: "metadata"].without("resourceVersion", "selfLink"))
      return object
    }
    return comparable(one) == comparable(other)
  }

  /// Whether the last finalizer has gone from an object that is being deleted.
  private func isDeletedByUpdate(_ object: JSONObject, _ resource: ServedResource) -> Bool {
    let metadata = ObjectMetadata(object)
    guard metadata.deletionTimestamp != nil, metadata.finalizers.isEmpty else { return false }
    if resource.type.plural == "namespaces" {
      return object[object: "spec"]["finalizers"]?.array?.isEmpty ?? true
    }
    return (metadata.deletionGraceSeconds ?? 0) == 0
  }

  /// What has been added to a pod stays as it is.
  private static func ephemeralErrors(_ object: JSONObject, _ old: JSONObject) -> [FieldError] {
    func containers(_ object: JSONObject, _ key: String) -> [JSONValue] { object[object: "spec"][key]?.array ?? [] }
    let path = "spec.ephemeralContainers"
    var errors: [FieldError] = []
    var names = Set((containers(object, "containers") + containers(object, "initContainers")).map { $0.text("name") })
    for (place, container) in containers(object, "ephemeralContainers").enumerated() {
      for key in ["name", "image"] where container.text(key).isEmpty {
        errors.append(FieldError(path: "\(path)[\(place)].\(key)", reason: .required))
      }
      if !names.insert(container.text("name")).inserted {
        errors.append(
          FieldError(path: "\(path)[\(place)].name", reason: .duplicate, value: .string(container.text("name"))))
      }
      for key in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"] {
        switch container[key] {
        case nil, .array([]), .object([:]): continue
        default:
          errors.append(
            FieldError(
              path: "\(path)[\(place)].\(key)", reason: .forbidden, detail: "cannot be set for an Ephemeral Container"))
        }
      }
    }
    let now = containers(object, "ephemeralContainers")
    for container in containers(old, "ephemeralContainers") {
      let name = container.text("name")
      guard now.first(where: { $0.text("name") == name }) != container else { continue }
      errors.append(
        FieldError(
          path: path, reason: .forbidden, detail: "existing ephemeral containers \"\(name)\" may not be changed\n"))
    }
    return errors
  }

  private func validateUpdate(
    _ object: JSONObject, old: JSONObject, _ scope: UpdateScope, _ context: RequestContext
  ) throws(APIStatus) {
    let resource = context.resource
    let (document, stored) = (JSONValue.object(object), JSONValue.object(old))
    let errors: [FieldError] =
      switch scope {
      case .object: Validation.update(document: document, old: stored) + customErrors(object, old: old, resource)
      case .status: Validation.statusUpdate(document: document, old: stored) + customErrors(object, old: old, resource)
      case .ephemeralContainers: Self.ephemeralErrors(object, old)
      case .resize: Self.resizeErrors(object, old: old)
      case .finalize, .everything: []
      }
    if !errors.isEmpty {
      throw .invalid(
        kind: resource.kind, group: resource.type.group, name: context.info.name, errors: errors)
    }
  }
}
