import HTTPServer
import JSON
import KubeSchema
import ObjectStore
import Testing

@testable import APIServer

@Suite struct ListTests {
  static let maps = "/api/v1/namespaces/default/configmaps"

  private func filled(_ count: Int) async throws -> TestServer {
    let world = try await TestServer()
    for number in 0..<count {
      try await world.send(
        "POST", Self.maps, ["metadata": ["name": .string("m\(number)"), "labels": ["n": .string(String(number % 2))]]])
    }
    try await world.send("DELETE", "\(Self.maps)/kube-root-ca.crt")
    return world
  }

  @Test func pagesAreOfOneRevision() async throws {
    let world = try await filled(5)
    let first = try await world.send("GET", "\(Self.maps)?limit=2")
    #expect(first.names == ["kube-root-ca.crt", "m0"])
    #expect(first.json["metadata"]?["remainingItemCount"] == 4)
    try await world.send("POST", Self.maps, ["metadata": ["name": "m9"]])
    try await world.send("DELETE", "\(Self.maps)/m2")
    var names = first.names
    var token = first.json["metadata"]?["continue"]?.string
    while let next = token {
      let page = try await world.send("GET", "\(Self.maps)?limit=2&continue=\(next)")
      #expect(page.status == 200, "\(page.text)")
      #expect(page.revision == first.revision)
      names += page.names
      token = page.json["metadata"]?["continue"]?.string
    }
    #expect(names == ["kube-root-ca.crt", "m0", "m1", "m2", "m3", "m4"])
    let mixed = try await world.send(
      "GET", "\(Self.maps)?limit=2&resourceVersion=5&continue=\(first.json["metadata"]?["continue"]?.string ?? "")")
    #expect(mixed.status == 400)
    #expect(mixed.message == "specifying resource version is not allowed when using continue")
    try await world.stop()
  }

  @Test func aTokenThatIsTooOldSaysHowToGoOn() async throws {
    let world = try await filled(5)
    let first = try await world.send("GET", "\(Self.maps)?limit=2")
    try await world.send("POST", Self.maps, ["metadata": ["name": "m9"]])
    try await world.store.compact(keeping: 0)
    let token = first.json["metadata"]?["continue"]?.string ?? ""
    let gone = try await world.send("GET", "\(Self.maps)?limit=2&continue=\(token)")
    #expect(gone.status == 410)
    #expect(gone.reason == "Expired")
    #expect(gone.message.hasPrefix("The provided continue parameter is too old"))
    let fresh = try #require(gone.json["metadata"]?["continue"]?.string)
    let rest = try await world.send("GET", "\(Self.maps)?continue=\(fresh)")
    #expect(rest.names == ["m1", "m2", "m3", "m4", "m9"])
    try await world.stop()
  }

  @Test func selectorsAndPagesGoTogether() async throws {
    let world = try await filled(6)
    let all = try await world.send("GET", "\(Self.maps)?labelSelector=n%3D1")
    #expect(all.names == ["m1", "m3", "m5"])
    let first = try await world.send("GET", "\(Self.maps)?labelSelector=n%3D1&limit=2")
    #expect(first.names == ["m1", "m3"])
    #expect(first.json["metadata"]?["remainingItemCount"] == nil)
    let token = first.json["metadata"]?["continue"]?.string ?? ""
    let second = try await world.send("GET", "\(Self.maps)?labelSelector=n%3D1&limit=2&continue=\(token)")
    #expect(second.names == ["m5"])
    #expect(try await world.send("GET", "\(Self.maps)?fieldSelector=metadata.name%3Dm4").names == ["m4"])
    #expect(try await world.send("GET", "\(Self.maps)?fieldSelector=metadata.name%21%3Dm4").names.count == 6)
    #expect(
      try await world.send("GET", "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dkube-system").names
        == ["kube-root-ca.crt"])
    try await world.stop()
  }

  @Test func aListOfThePastIsExact() async throws {
    let world = try await filled(2)
    let then = world.store.revision
    try await world.send("POST", Self.maps, ["metadata": ["name": "m9"]])
    let past = try await world.send("GET", "\(Self.maps)?resourceVersion=\(then)&resourceVersionMatch=Exact")
    #expect(past.names == ["kube-root-ca.crt", "m0", "m1"])
    #expect(past.revision == String(then))
    let present = try await world.send("GET", "\(Self.maps)?resourceVersion=\(then)")
    #expect(present.names.count == 4)
    try await world.stop()
  }

  @Test func listsComeInEveryForm() async throws {
    let world = try await filled(2)
    let table = try await world.send(
      "GET", "\(Self.maps)?limit=500", accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    #expect(table.json["kind"] == "Table")
    #expect(table.json["rows"]?.array?.count == 3)
    #expect(table.json["metadata"]?["resourceVersion"]?.string == String(world.store.revision))
    let old = try await world.send("GET", Self.maps, accept: "application/json;as=Table;v=v1beta1;g=meta.k8s.io")
    #expect(old.json["apiVersion"] == "meta.k8s.io/v1beta1")
    let metadata = try await world.send(
      "GET", Self.maps, accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    #expect(metadata.json["kind"] == "PartialObjectMetadataList")
    #expect(metadata.names.count == 3)
    #expect(metadata.json["items"]?[0]?["data"] == nil)
    let yaml = try await world.send("GET", "\(Self.maps)/m0", accept: "application/yaml")
    #expect(yaml.headers["content-type"] == "application/yaml")
    #expect(yaml.text.contains("name: m0\n"))
    for target in [Self.maps, "\(Self.maps)/m0"] {
      let binary = try await world.send(
        "GET", target, accept: "application/vnd.kubernetes.protobuf,application/json")
      #expect(binary.headers["content-type"] == "application/vnd.kubernetes.protobuf")
      #expect(Array(binary.bytes.prefix(4)) == [0x6B, 0x38, 0x73, 0])
    }
    try await world.stop()
  }

  /// A list in protobuf is put together from messages that are kept: it must say what the JSON says, also after changes.
  @Test func listsInProtobufSayWhatTheJSONSays() async throws {
    let world = try await TestServer()
    for number in 0..<5 {
      try await world.send("POST", Self.maps, ["metadata": ["name": .string("p\(number)")], "data": ["a": "1"]])
    }
    for round in 0..<3 {
      for target in ["\(Self.maps)?limit=4", "\(Self.maps)?fieldSelector=metadata.name%21%3Dp1", "\(Self.maps)/p2"] {
        let text = try await world.send("GET", target)
        let binary = try await world.send("GET", target, accept: "application/vnd.kubernetes.protobuf")
        var read = try KubeProtobuf.decode(binary.bytes)
        // Items of JSON repeat their kind, those of protobuf have none.
        var expected = text.json
        if let items = expected["items"]?.array {
          expected[path: "items"] = .array(
            items.map {
              var item = $0
              item[path: "kind"] = nil
              item[path: "apiVersion"] = nil
              return item
            })
        }
        if read[path: "metadata", "continue"] != nil {
          read[path: "metadata", "continue"] = nil
          expected[path: "metadata", "continue"] = nil
        }
        #expect(read == expected, "round \(round), \(target)")
      }
      try await world.send("PUT", "\(Self.maps)/p2", ["metadata": ["name": "p2"], "data": ["a": .string("\(round)")]])
      try await world.send("DELETE", "\(Self.maps)/p\(round == 0 ? 0 : 4)")
    }
    try await world.stop()
  }

  @Test func bodiesComeInEveryForm() async throws {
    let world = try await TestServer()
    let yaml = try await world.send(
      "POST", Self.maps, text: "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: doc\ndata:\n  a: b\n",
      type: "application/yaml")
    #expect(yaml.status == 201, "\(yaml.text)")
    #expect(yaml.json["data"] == ["a": "b"])
    // A Namespace as kubectl sends it.
    let message: [UInt8] =
      [0x6B, 0x38, 0x73, 0, 0x0A, 0x0F, 0x0A, 2, 0x76, 0x31, 0x12, 9] + Array("Namespace".utf8)
      + [0x12, 0x1A, 0x0A, 0x12, 0x0A, 2] + Array("t1".utf8)
      + [0x12, 0, 0x1A, 0, 0x22, 0, 0x2A, 0, 0x32, 0, 0x38, 0, 0x42, 0, 0x12, 0, 0x1A, 2, 0x0A, 0, 0x1A, 0, 0x22, 0]
    let created = try await world.send(
      "POST", "/api/v1/namespaces?fieldManager=kubectl-create&fieldValidation=Strict", bytes: message,
      type: "application/vnd.kubernetes.protobuf")
    #expect(created.status == 201, "\(created.text)")
    #expect(try await world.send("GET", "/api/v1/namespaces/t1").json["status"]?["phase"] == "Active")
    try await world.stop()
  }
}
