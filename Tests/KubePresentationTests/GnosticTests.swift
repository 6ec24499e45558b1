import JSON
import KubePresentation
import KubeSchema
import Testing

/// Reads protobuf without knowing messages: fields by number, lengths checked.
private struct Message {
  private(set) var blocks: [(field: Int, bytes: ArraySlice<UInt8>)] = []

  init(_ bytes: ArraySlice<UInt8>) throws {
    var rest = bytes
    func varint() throws -> Int {
      var (value, shift) = (0, 0)
      while let byte = rest.popFirst() {
        value |= Int(byte & 0x7F) << shift
        shift += 7
        if byte & 0x80 == 0 { return value }
      }
      throw Truncated()
    }
    while !rest.isEmpty {
      let tag = try varint()
      switch tag & 7 {
      case 0: blocks.append((tag >> 3, [UInt8(try varint())]))
      case 2:
        let count = try varint()
        guard count <= rest.count else { throw Truncated() }
        blocks.append((tag >> 3, rest.prefix(count)))
        rest = rest.dropFirst(count)
      default: throw Truncated()
      }
    }
  }

  struct Truncated: Error {}

  func all(_ field: Int) throws -> [Message] { try blocks.filter { $0.field == field }.map { try Message($0.bytes) } }
  func text(_ field: Int) -> String? {
    blocks.first { $0.field == field }.map { String(decoding: $0.bytes, as: UTF8.self) }
  }
  func texts(_ field: Int) -> [String] {
    blocks.filter { $0.field == field }.map { String(decoding: $0.bytes, as: UTF8.self) }
  }
  /// The value of a pair of name and value.
  func named(_ name: String, in field: Int) throws -> Message? {
    try all(field).first { $0.text(1) == name }?.all(2)[0]
  }
}

@Suite struct GnosticTests {
  private let openAPI = OpenAPI(.kubernetes, version: "v1.36.0+martlet")

  @Test func theProtobufFormSaysWhatTheJSONSays() throws {
    let json = try JSONValue.parse(openAPI.v2())
    let document = try Message(openAPI.v2Protobuf()[...])
    #expect(document.text(1) == "2.0")
    let paths = try document.all(8)[0].all(2).compactMap { $0.text(1) }
    #expect(paths == json["paths"]?.object?.keys)
    let definitions = try document.all(9)[0]
    #expect(try definitions.all(1).compactMap { $0.text(1) } == json["definitions"]?.object?.keys)

    let pod = try #require(try definitions.named("io.k8s.api.core.v1.PodSpec", in: 1))
    #expect(pod.texts(19) == ["containers"])
    let containers = try #require(try pod.all(25)[0].named("containers", in: 1))
    #expect(try containers.all(22)[0].text(1) == "array")
    #expect(try containers.all(23)[0].all(1)[0].text(1) == "#/definitions/io.k8s.api.core.v1.Container")
    let key = try #require(try containers.named("x-kubernetes-patch-merge-key", in: 31))
    #expect(key.text(2) == "\"name\"")
    let labels = try #require(
      try definitions.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", in: 1)?.all(25)[0].named("labels", in: 1)
    )
    #expect(try labels.all(21)[0].all(1)[0].all(22)[0].text(1) == "string")
  }

  @Test func patchesSayThatTheyCanBeTriedOut() throws {
    let document = try Message(openAPI.v2Protobuf()[...])
    let item = try #require(
      try document.all(8)[0].named("/apis/apps/v1/namespaces/{namespace}/deployments/{name}", in: 2))
    let patch = try #require(try item.all(8).first)
    // NamedAny, then Any, whose second field is YAML.
    let kind = try #require(try patch.named("x-kubernetes-group-version-kind", in: 13))
    #expect(kind.text(2) == #"{"group":"apps","kind":"Deployment","version":"v1"}"#)
    // ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema.
    let names = try patch.all(8).flatMap { try $0.all(1) }.flatMap { try $0.all(2) }.flatMap { try $0.all(3) }
      .compactMap { $0.text(4) }
    #expect(names == ["dryRun", "fieldManager", "fieldValidation"])
    #expect(patch.texts(7).contains("application/strategic-merge-patch+json"))
  }
}
