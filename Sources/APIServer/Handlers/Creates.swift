import HTTPServer
import JSON
import KubeModel
import KubeSchema
import KubeValidation
import ObjectStore

extension APIServer {
  /// Names that are tried for one `generateName`.
  private static let generatedNamesMax = 8

  func create(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    guard context.info.name.isEmpty else { throw .methodNotAllowed(context.resource.qualified) }
    let options = try WriteOptions(context.query, kind: "CreateOptions")
    let type = context.resource.type
    let encoding = try Self.encoding(context.request)
    let bytes = try await body(context.request)
    let read = try checked(try parse(bytes, encoding, kind: type.kind), of: context.resource, options.fieldValidation)
    let created = try await create(read.object, in: context, options)
    let warnings = Self.isDefinition(context.resource) ? CustomDefinitions.warnings(read.object) : []
    return try answer(created, context, code: 201, warnings: read.warnings + warnings)
  }

  /// Makes an object out of a checked document: names, defaults, admission, validation, one transaction.
  func create(
    _ document: JSONObject, in context: RequestContext, _ options: WriteOptions,
    _ ownership: FieldOwnership = .ofWriter
  ) async throws(APIStatus) -> AnsweredObject {
    let named = try namedForCreation(document, context)
    let base = named[object: "metadata"].text("generateName")
    let generates = named[object: "metadata"].text("name").isEmpty && !base.isEmpty
    for attempt in 1...Self.generatedNamesMax {
      var object = named
      if generates { object[object: "metadata"]["name"] = .string(ObjectNames.generated(from: base)) }
      do throws(APIStatus) {
        return try await createNamed(object, context, options, ownership)
      } catch {
        guard generates, error.reason == "AlreadyExists", attempt < Self.generatedNamesMax else { throw error }
      }
    }
    throw .internalError("create \(context.resource.qualified): no free name")
  }

  /// The namespace of the path in the metadata, and nothing that only the server sets.
  private func namedForCreation(_ document: JSONObject, _ context: RequestContext) throws(APIStatus) -> JSONObject {
    var object = document
    var metadata = object[object: "metadata"]
    if !metadata.text("resourceVersion").isEmpty {
      throw .badRequest("resourceVersion should not be set on objects to be created")
    }
    try Self.placeInNamespace(&metadata, context)
    for key in [
      "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink",
    ] {
      metadata[key] = nil
    }
    if metadata["managedFields"] != nil { metadata["managedFields"] = nil }
    object["metadata"] = .object(metadata)
    return object
  }

  /// - Throws: `BadRequest` where the document names another namespace than the path.
  static func placeInNamespace(_ metadata: inout JSONObject, _ context: RequestContext) throws(APIStatus) {
    guard context.resource.type.isNamespaced else {
      metadata["namespace"] = nil
      return
    }
    metadata.setDefault("namespace", .string(context.namespace))
    guard metadata.text("namespace") == context.namespace else {
      throw .badRequest("the namespace of the provided object does not match the namespace sent on the request")
    }
  }

  private func createNamed(
    _ document: JSONObject, _ context: RequestContext, _ options: WriteOptions, _ ownership: FieldOwnership
  ) async throws(APIStatus) -> AnsweredObject {
    let resource = context.resource
    let name = document[object: "metadata"].text("name")
    try checkNamespace(context, name)
    var object = document
    if resource.hasStatus, resource.type.plural != "nodes" { object["status"] = newStatus(resource) }
    if resource.custom?.isTerminating == true { throw .methodNotAllowed(resource.qualified) }
    object = defaulted(object, resource)
    var metadata = object[object: "metadata"]
    metadata["uid"] = .string(ObjectNames.uid())
    metadata["creationTimestamp"] = .string(ObjectNames.time(context.now))
    if resource.strategy.countsGenerations { metadata["generation"] = 1 }
    object["metadata"] = .object(metadata)
    // What admission gives a pod is nobody's, as in Kubernetes, where it comes after the record of who owns what.
    let isPod = resource.type.group.isEmpty && resource.type.plural == "pods"
    if isPod { noteCreator(&object, ownership, context) }
    try prepareForCreation(&object, context)
    if !isPod { noteCreator(&object, ownership, context) }
    object = try await mutatedByWebhooks(object, old: nil, "CREATE", context)
    try checkNodeCreation(object, context)
    if name.isEmpty {
      throw .invalid(
        kind: resource.kind, group: resource.type.group, name: "",
        errors: [
          FieldError(path: "metadata.name", reason: .required, detail: "name or generateName is required")
        ])
    }
    let key = resource.key(namespace: context.namespace, name: name)
    try validateCreation(object, resource, name)
    if store.get(key) != nil { throw .alreadyExists(resource.qualified, name) }
    try await checkByWebhooks(object, old: nil, "CREATE", context)
    try checkAdmitted(object, old: nil, context)
    let allocation = try allocate(&object, old: nil, context)
    if Self.isDefinition(resource) { settleDefinition(&object, old: nil, context.now) }
    let value = resource.stored(object)
    if options.isDryRun {
      allocation.undo()
      return AnsweredObject(value: value, revision: 0)
    }
    var transaction = Transaction(checks: [key: 0], puts: [(key, value)])
    if resource.type.plural == "namespaces" { transaction.puts += namespaceContents(name, context.now) }
    do throws(APIStatus) {
      let revision = try await commit(transaction, in: context, name)
      allocation.keep()
      return AnsweredObject(value: value, revision: revision)
    } catch {
      allocation.undo()
      throw error
    }
  }

  /// Times that an object is put again because its namespace changed meanwhile.
  private static let namespaceAttemptsMax = 100

  /// Puts a new object, where its namespace is as it was looked at: in one that is to go nothing comes about, not even in
  /// its last moment.
  private func commit(
    _ wanted: Transaction, in context: RequestContext, _ name: String
  ) async throws(APIStatus) -> Int64 {
    let resource = context.resource
    for _ in 0..<Self.namespaceAttemptsMax {
      var transaction = wanted
      let namespace = resource.type.isNamespaced ? store.get("/namespaces/\(context.namespace)") : nil
      if let namespace { transaction.checks[namespace.key] = namespace.revision }
      try checkNamespace(context, name)
      do throws(StoreError) {
        return try await store.commit(transaction)
      } catch {
        if case .conflict(let key, _) = error {
          if key == namespace?.key { continue }
          throw .alreadyExists(resource.qualified, name)
        }
        throw status(error)
      }
    }
    throw .conflict(
      QualifiedResource(group: "", resource: "namespaces"), context.namespace,
      "the namespace keeps changing; try again")
  }

  /// What a status says before anybody wrote it: the counts that its type requires, which are zero.
  private func newStatus(_ resource: ServedResource) -> JSONValue? {
    guard let name = resource.schema.fields["status"]?.valueType.objectName, let type = schema.type(named: name) else {
      return nil
    }
    let counts = type.fields.values.filter { $0.isRequired && ($0.valueType == .int32 || $0.valueType == .int64) }
    return counts.isEmpty
      ? nil : .object(JSONObject(sorted: Dictionary(uniqueKeysWithValues: counts.map { ($0.name, 0) })))
  }

  private func validateCreation(
    _ object: JSONObject, _ resource: ServedResource, _ name: String
  ) throws(APIStatus) {
    let errors = creationErrors(object, resource)
    if !errors.isEmpty {
      throw .invalid(kind: resource.kind, group: resource.type.group, name: name, errors: errors)
    }
  }
}
