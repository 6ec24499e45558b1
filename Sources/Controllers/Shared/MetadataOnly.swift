internal import JSON
internal import KubeModel

/// An object of which only the metadata is kept: what owners and namespaces are dealt with by.
struct MetadataOnly<T: KubeResource>: KubeResource {
  static var resource: ResourceType { T.resource }
  static var apiVersion: String { T.apiVersion }
  static var kind: String { T.kind }
  var metadata = ObjectMeta()

  init() {}

  mutating func decodeField(_ key: String, _ value: JSONValue, _ decoder: inout FieldDecoder) -> Bool {
    if key == "metadata" { decoder.decode(&metadata, value) }
    return true
  }

  func encodeFields(_ encoder: inout FieldEncoder) { encoder.encode("metadata", metadata) }
}

/// Patches of metadata that hold only for the object as it was read.
enum MetadataPatch {
  static func owners(_ owners: [OwnerReference], of metadata: ObjectMeta) -> JSONValue {
    patch(["ownerReferences": owners.isEmpty ? .null : .array(owners.map(\.json))], of: metadata)
  }

  static func finalizers(_ finalizers: [String], of metadata: ObjectMeta) -> JSONValue {
    patch(["finalizers": finalizers.isEmpty ? .null : JSONValue(finalizers)], of: metadata)
  }

  private static func patch(_ change: JSONObject, of metadata: ObjectMeta) -> JSONValue {
    var members = change
    members["uid"] = metadata.uid.map { .string($0) }
    members["resourceVersion"] = metadata.resourceVersion.map { .string($0) }
    return .object(["metadata": .object(members)])
  }
}
