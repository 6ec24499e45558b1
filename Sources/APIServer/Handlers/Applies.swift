import HTTPServer
import JSON
import KubeModel
import KubeSchema
import KubeValidation
import ObjectStore
import YAML

extension APIServer {
  private static let lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

  /// Server-side apply: PATCH with `application/apply-patch+yaml`.
  ///
  /// https://kubernetes.io/docs/reference/using-api/server-side-apply/
  func apply(_ context: RequestContext, _ options: WriteOptions) async throws(APIStatus) -> HTTPResponse {
    guard !options.fieldManager.isEmpty else {
      throw .invalid(
        kind: "PatchOptions", group: "meta.k8s.io", name: "",
        errors: [
          FieldError(path: "fieldManager", reason: .required, detail: "is required for apply patch")
        ])
    }
    let configuration = try await configuration(context)
    let shape = context.resource.applyShape(schema)
    let manager = Self.manager(context, applies: true)
    let fields: FieldSet
    do throws(ApplyProblem) {
      fields = Self.ownable(try shape.fields(of: .object(configuration)), context)
    } catch {
      throw Self.untyped(error, configuration, context)
    }
    if store.get(context.key) == nil,
      let response = try await createApplied(configuration, manager, fields, context, options)
    {
      return response
    }
    var warnings: [String] = []
    let updated = try await change(
      context, UpdateScope(context.info.subresource), isDryRun: options.isDryRun, .settled
    ) { live throws(APIStatus) in
      let merged = try self.applied(configuration, to: live, fields, manager, shape, context, options)
      let read = try self.readApplied(.object(merged), context, options)
      warnings = read.warnings
      return read.object
    }
    return try answer(updated, context, warnings: warnings)
  }

  /// Makes the object. - Returns: nil where somebody made it meanwhile.
  private func createApplied(
    _ configuration: JSONObject, _ manager: ManagedFields.Manager, _ fields: FieldSet, _ context: RequestContext,
    _ options: WriteOptions
  ) async throws(APIStatus) -> HTTPResponse? {
    guard context.info.subresource.isEmpty else { throw context.notFound() }
    let metadata = ObjectMetadata(configuration)
    guard metadata.uid.isEmpty else {
      throw .conflict(
        context.resource.qualified, context.info.name,
        "uid mismatch: the provided object specified uid \(metadata.uid), and no existing object was found")
    }
    let read = try readApplied(.object(configuration), context, options)
    do throws(APIStatus) {
      let created = try await create(read.object, in: context, options, .applied(manager, fields))
      return try answer(created, context, code: 201, warnings: read.warnings)
    } catch {
      guard error.reason == "AlreadyExists" else { throw error }
      return nil
    }
  }

  private func readApplied(
    _ document: JSONValue, _ context: RequestContext, _ options: WriteOptions
  ) throws(APIStatus) -> ReadDocument {
    try checked(document, of: context.resource, options.fieldValidation)
  }

  /// The body, checked so far as it can be without the object.
  private func configuration(_ context: RequestContext) async throws(APIStatus) -> JSONObject {
    let bytes = try await body(context.request)
    let first = bytes.first { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\n") }
    let value: JSONValue
    do throws(APIStatus) {
      value = try parse(bytes, first == UInt8(ascii: "{") ? .json : .yaml, kind: context.resource.kind)
    } catch {
      throw .badRequest("error decoding YAML: \(error.message)")
    }
    guard var object = value.object else {
      throw .badRequest("error decoding YAML: an object is expected, not \(value.kindName)")
    }
    let type = context.resource.type
    guard object.text("kind") == type.kind, object.text("apiVersion") == type.apiVersion else {
      throw .badRequest(
        "the API version in the data (\(object.text("apiVersion")), kind \(object.text("kind"))) does not match the "
          + "expected API version (\(type.apiVersion), kind \(type.kind))")
    }
    var metadata = object[object: "metadata"]
    guard metadata["managedFields"]?.array?.isEmpty ?? true else {
      throw .badRequest("metadata.managedFields must be nil")
    }
    metadata["managedFields"] = nil
    metadata.setDefault("name", .string(context.info.name))
    guard metadata.text("name") == context.info.name else {
      throw .badRequest(
        "the name of the object (\(metadata.text("name"))) does not match the name on the URL (\(context.info.name))")
    }
    try Self.placeInNamespace(&metadata, context)
    object["metadata"] = .object(metadata)
    // What another path writes is not this one's to apply.
    object.removeAll { key, _ in
      context.info.subresource == "status"
        ? !["apiVersion", "kind", "metadata", "status"].contains(key) : key == "status" && context.resource.hasStatus
    }
    if let unknown = context.resource.undeclared(in: object, schema) {
      throw Self.untyped(ApplyProblem("\(unknown): field not declared in schema"), object, context)
    }
    return object
  }

  private static func untyped(
    _ problem: ApplyProblem, _ configuration: JSONObject, _ context: RequestContext
  ) -> APIStatus {
    let place = context.namespace.isEmpty ? "/\(context.info.name)" : "\(context.namespace)/\(context.info.name)"
    return .badRequest(
      "failed to create typed patch object (\(place); \(context.resource.type.apiVersion), "
        + "Kind=\(context.resource.kind)): \(problem)")
  }

  /// The live object with the configuration laid over it, without what its manager applied before and no longer names.
  /// - Throws: `Conflict` where that would change what others own, unless it is forced.
  private func applied(
    _ configuration: JSONObject, to live: JSONObject, _ fields: FieldSet, _ manager: ManagedFields.Manager,
    _ shape: ApplyShape, _ context: RequestContext, _ options: WriteOptions
  ) throws(APIStatus) -> JSONObject {
    var managed = ManagedFields(json: live[object: "metadata"]["managedFields"])
    let before = managed
    var current = live
    current[object: "metadata"]["managedFields"] = nil
    let time = ObjectNames.time(context.now)
    var result: JSONObject
    var conflicts: [ManagedFields.Conflict] = []
    do throws(ApplyProblem) {
      if managed.isEmpty {
        // Nobody told who made it: what is there stays, and is somebody's.
        let everything = try shape.difference(.object([:]), .object(current))
        managed.update(
          .init(name: "before-first-apply", applies: false, apiVersion: manager.apiVersion), everything, time: time)
      }
      var merged = try shape.merged(.object(current), with: .object(configuration))
      if let last = managed.fields(of: manager) {
        merged = try shape.pruned(merged, last: last, owned: managed.fields(besides: manager).union(fields)) ?? [:]
      }
      result = merged.object ?? [:]
      let difference = try shape.difference(.object(current), merged)
      if !options.force {
        var changed = difference.changed
        if manager.name == "kubectl" { changed = changed.subtracting(try Self.clientApplied(current, shape)) }
        conflicts = managed.conflicts(manager, changed)
      }
      managed.apply(manager, fields, difference, time: time)
    } catch {
      throw Self.untyped(error, configuration, context)
    }
    if !conflicts.isEmpty { throw Self.applyConflict(conflicts) }
    if manager.name == "kubectl", current[object: "metadata"][object: "annotations"][Self.lastApplied] != nil {
      result[object: "metadata"][object: "annotations"][Self.lastApplied] = .string(
        String(decoding: JSONValue.object(configuration).encoded(), as: UTF8.self) + "\n")
    }
    // An apply that changes nothing does not change its time either.
    let isSame = managed.withoutTimes == before.withoutTimes
    result[object: "metadata"]["managedFields"] = isSame ? live[object: "metadata"]["managedFields"] : managed.json
    return result
  }

  /// What kubectl applied before it applied on the server, and what nobody has changed since: no conflict.
  private static func clientApplied(_ live: JSONObject, _ shape: ApplyShape) throws(ApplyProblem) -> FieldSet {
    let text = live[object: "metadata"][object: "annotations"].text(lastApplied)
    guard !text.isEmpty, let last = try? JSONValue.parse(Array(text.utf8)) else { return FieldSet() }
    let difference = try shape.difference(last, .object(live))
    return try shape.fields(of: last).subtracting(difference.modified).subtracting(difference.removed)
  }

  private static func applyConflict(_ conflicts: [ManagedFields.Conflict]) -> APIStatus {
    var message: String
    if conflicts.count == 1 {
      message = "Apply failed with 1 conflict: conflict with \(conflicts[0].manager.words): \(conflicts[0].path)"
    } else {
      var lines: [String] = []
      for manager in Set(conflicts.map(\.manager)).sorted(by: { $0.words < $1.words }) {
        lines.append("conflicts with \(manager.words):")
        lines += conflicts.filter { $0.manager == manager }.map { "- \($0.path)" }
      }
      message = "Apply failed with \(conflicts.count) conflicts: \(lines.joined(separator: "\n"))"
    }
    var details = APIStatus.Details()
    details.causes = conflicts.map {
      .init(reason: "FieldManagerConflict", message: "conflict with \($0.manager.words)", field: $0.path)
    }
    return APIStatus(code: 409, reason: "Conflict", message: message, details: details)
  }
}
