import HTTPServer
import JSON
import KubeModel
import KubeSchema

extension APIServer {
  /// The ways to describe a change.
  enum PatchType: String, CaseIterable, Sendable {
    case json = "application/json-patch+json"
    case merge = "application/merge-patch+json"
    case strategic = "application/strategic-merge-patch+json"
    case apply = "application/apply-patch+yaml"
  }

  func patch(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    let type = try Self.patchType(context.request)
    let options = try WriteOptions(context.query, kind: "PatchOptions", isApply: type == .apply)
    if type == .apply { return try await apply(context, options) }
    if type == .strategic, context.resource.custom != nil {
      throw .unsupportedMediaType(PatchType.allCases.filter { $0 != .strategic }.map(\.rawValue))
    }
    let patch = try await patchDocument(context.request, type)
    let (resource, schema) = (context.resource, schema)
    var warnings: [String] = []
    let updated = try await change(
      context, UpdateScope(context.info.subresource), isDryRun: options.isDryRun
    ) { old throws(APIStatus) in
      let patched = try Self.patched(old, patch, type, resource.schema, schema)
      let read = try self.checked(patched, of: resource, options.fieldValidation)
      warnings = read.warnings
      try Self.checkIdentity(read.object, old, context)
      return read.object
    }
    return try answer(updated, context, warnings: warnings)
  }

  static func patchType(_ request: HTTPRequest) throws(APIStatus) -> PatchType {
    let header = MediaType(request.headers["content-type"] ?? "").type
    guard let type = PatchType(rawValue: header) else {
      throw .unsupportedMediaType(PatchType.allCases.map(\.rawValue))
    }
    return type
  }

  func patchDocument(_ request: HTTPRequest, _ type: PatchType) async throws(APIStatus) -> JSONValue {
    // Here are only subresources that show another kind, which have no fields to own.
    if type == .apply { throw .unsupportedMediaType(PatchType.allCases.filter { $0 != .apply }.map(\.rawValue)) }
    let bytes = try await body(request)
    let patch: JSONValue
    do {
      patch = try JSONValue.parse(
        bytes, limits: JSONLimits(maxBytes: configuration.bodyBytesMax, maxDepth: configuration.documentDepthMax))
    } catch {
      throw .badRequest("error decoding patch: \(error)")
    }
    switch type {
    case .json:
      guard let operations = patch.array else {
        throw .badRequest(
          "error decoding patch: json: cannot unmarshal \(patch.kindName) into Go value of type jsonpatch.Patch")
      }
      guard operations.count <= configuration.patchOperationsMax else {
        throw APIStatus(
          code: 413, reason: "RequestEntityTooLarge",
          message: "The allowed maximum operations in a JSON patch is \(configuration.patchOperationsMax), got "
            + "\(operations.count)")
      }
    default:
      guard patch.object != nil else {
        throw .badRequest(
          "error decoding patch: json: cannot unmarshal \(patch.kindName) into Go value of type map[string]interface {}"
        )
      }
    }
    return patch
  }

  static func patched(
    _ old: JSONObject, _ patch: JSONValue, _ type: PatchType, _ schemaType: SchemaType, _ schema: Schema
  ) throws(APIStatus) -> JSONValue {
    do {
      switch type {
      case .json: return try JSONPatch.apply(patch, to: .object(old))
      case .merge: return JSONMergePatch.apply(patch, to: .object(old))
      case .strategic, .apply: return try schema.strategicMergePatch(.object(old), patch: patch, as: schemaType)
      }
    } catch {
      guard error.code == .notApplicable else { throw .badRequest("\(error)") }
      throw APIStatus(
        code: 422, reason: "Invalid",
        message: "the server rejected our request due to an error in our request: \(error)")
    }
  }

  private static func checkIdentity(_ new: JSONObject, _ old: JSONObject, _ context: RequestContext) throws(APIStatus) {
    let (new, old) = (ObjectMetadata(new), ObjectMetadata(old))
    guard new.name == old.name else {
      throw .badRequest(
        "the name of the object (\(new.name)) does not match the name on the URL (\(context.info.name))")
    }
    guard new.namespace == old.namespace else {
      throw .badRequest(
        "the namespace of the object (\(new.namespace)) does not match the namespace on the URL (\(context.namespace))")
    }
  }
}
