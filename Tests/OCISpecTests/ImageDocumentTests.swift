import JSON
import OCISpec
import Testing

private let hex = String(repeating: "ab", count: 32)
private func descriptor(_ type: String, size: Int = 10, extra: String = "") -> String {
  #"{"mediaType":"\#(type)","digest":"sha256:\#(hex)","size":\#(size)\#(extra)}"#
}
private func manifest(
  config: String = descriptor(MediaType.ociConfig), layers: [String] = [], type: String? = MediaType.ociManifest,
  extra: String = ""
) -> String {
  let media = type.map { #""mediaType":"\#($0)","# } ?? ""
  return #"{"schemaVersion":2,\#(media)"config":\#(config),"layers":[\#(layers.joined(separator: ","))]\#(extra)}"#
}
private func parse(_ text: String, _ type: String? = nil) throws -> ImageDocument {
  try ImageDocument.parse(Array(text.utf8), mediaType: type, in: "manifest x")
}
private func entry(_ platform: String, type: String = MediaType.ociManifest) -> String {
  let parts = platform.split(separator: "/")
  let variant = parts.count == 3 ? #","variant":"\#(parts[2])""# : ""
  return descriptor(
    type, size: platform.utf8.count,
    extra: #","platform":{"os":"\#(parts[0])","architecture":"\#(parts[1])"\#(variant)}"#)
}
private func index(_ entries: [String]) throws -> ImageIndex {
  guard case .index(let index) = try parse(#"{"schemaVersion":2,"manifests":[\#(entries.joined(separator: ","))]}"#)
  else {
    throw ImageSpecError(.invalid, "test", "no index")
  }
  return index
}

@Suite struct ImageDocumentTests {
  @Test func readsManifestsOfBothFamilies() throws {
    let layers = [
      MediaType.ociLayer + "+gzip", MediaType.ociLayer + "+zstd", MediaType.ociLayer, MediaType.dockerLayer + ".gzip",
    ]
    for (config, type) in [
      (MediaType.ociConfig, MediaType.ociManifest), (MediaType.dockerConfig, MediaType.dockerManifest),
    ] {
      let text = manifest(config: descriptor(config), layers: layers.map { descriptor($0) }, type: type)
      guard case .manifest(let found) = try parse(text, type) else { Issue.record("no manifest"); return }
      #expect(found.layers.map(\.mediaType) == layers && found.config.mediaType == config)
      guard case .manifest(let again) = try ImageDocument.parse(found.json.encoded(), mediaType: type, in: "again")
      else { Issue.record("lost"); return }
      #expect(again == found)
    }
    guard case .manifest = try parse(manifest(type: nil)) else {
      Issue.record("OCI manifests need not name their type"); return
    }
  }

  @Test(
    arguments: [
      ("[]", nil, "is not a JSON object"), ("{", nil, "is not acceptable JSON"),
      (#"{"schemaVersion":3}"#, nil, "schemaVersion is not 2"),
      (#"{"schemaVersion":1,"fsLayers":[]}"#, nil, "Docker schema 1"), (manifest(), MediaType.ociIndex, "contradicts"),
      (manifest(extra: #","manifests":[]"#), nil, "is ambiguous"),
      (manifest(extra: #","fsLayers":[]"#), nil, "is ambiguous"),
      (manifest(type: nil), MediaType.ociIndex, "manifests is missing"),
      (manifest(type: "application/x"), nil, "neither an image manifest nor an index"),
      (manifest(config: descriptor("application/vnd.cncf.helm.config.v1+json")), nil, "is not a container image"),
      (manifest(config: descriptor(MediaType.ociConfig, size: 9_000_000)), nil, "at most 8388608"),
      (
        manifest(layers: [descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip")]), nil,
        "layers are tar, tar+gzip or tar+zstd"
      ),
      (manifest(layers: [descriptor(MediaType.ociLayer, size: 1 << 40)]), nil, "are fetched"),
      (manifest(layers: [descriptor(MediaType.ociLayer, size: -1)]), nil, "size is negative"),
      (manifest(layers: [#"{"mediaType":"x"}"#]), nil, "digest is missing"),
      (manifest(layers: ["7"]), nil, "is not a JSON object"),
      (manifest(layers: Array(repeating: descriptor(MediaType.ociLayer), count: 501)), nil, "501 layers"),
      (String(repeating: "[", count: 5000), nil, "is not acceptable JSON"),
      (#"{"schemaVersion":2,"schemaVersion":2}"#, nil, "is not acceptable JSON"),
      (String(repeating: " ", count: 5 << 20), nil, "has 5242880 bytes, at most 4194304"),
    ] as [(String, String?, String)])
  func refusesWhatIsNoManifestByName(_ text: String, _ type: String?, _ says: String) {
    let error = #expect(throws: ImageSpecError.self) { try parse(text, type) }
    #expect(error?.description.contains(says) == true, "\(String(describing: error))")
  }

  @Test func choosesThePlatformThatFitsBest() throws {
    let many = try index(
      ["windows/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "linux/amd64/v3", "linux/amd64"].map {
        entry($0)
      })
    func chosen(_ platform: String) throws -> String? {
      try many.select(try Platform(platform), in: "index").platform?.description
    }
    #expect(try chosen("linux/amd64") == "linux/amd64")
    #expect(try chosen("linux/amd64/v4") == "linux/amd64/v3")
    #expect(try chosen("linux/arm64") == "linux/arm64/v8")
    #expect(try chosen("linux/arm/v7") == "linux/arm/v7" && chosen("linux/arm/v6") == "linux/arm/v6")
    let error = #expect(throws: ImageSpecError.self) { try chosen("linux/riscv64") }
    #expect(
      error?.code == .noMatch
        && error?.problem
          == "no image for linux/riscv64; the index has windows/amd64, linux/arm/v6, linux/arm/v7, linux/arm64/v8, linux/amd64/v3, linux/amd64"
    )
  }

  @Test func attestationsAndArtifactsAreNotChosen() throws {
    let image = try index([entry("unknown/unknown"), entry("linux/amd64", type: "application/x"), entry("linux/amd64")])
    #expect(try image.select(Platform("linux/amd64"), in: "i") == image.manifests[2])
    #expect(throws: ImageSpecError.self) {
      try index([entry("unknown/unknown")]).select(Platform("linux/amd64"), in: "i")
    }
    let only = try index([descriptor(MediaType.ociManifest)])
    #expect(try only.select(Platform("linux/amd64"), in: "i") == only.manifests[0])
  }

  @Test func readsAConfigurationAndIgnoresWhatItDoesNotKnow() throws {
    let text = """
      {"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","docker_version":"1","history":[{}],
       "config":{"User":"1:2","Env":["A=1","B"],"Entrypoint":["/e"],"Cmd":null,"Volumes":{"/b":{},"/a":{}},"ExposedPorts":{"80/tcp":{}},
       "WorkingDir":"/w","Labels":{"k":"v"},"StopSignal":"SIGINT","OnBuild":null},
       "rootfs":{"type":"layers","diff_ids":["sha256:\(hex)"]}}
      """
    let config = try ImageConfig(parsing: Array(text.utf8), in: "config")
    #expect(config.platform == Platform(os: "linux", architecture: "amd64") && config.user == "1:2")
    #expect(config.environment == ["A=1", "B"] && config.entrypoint == ["/e"] && config.command == [])
    #expect(config.volumes == ["/a", "/b"] && config.exposedPorts == ["80/tcp"] && config.workingDirectory == "/w")
    #expect(config.labels == ["k": "v"] && config.stopSignal == "SIGINT" && config.diffIDs.map(\.hex) == [hex])
  }

  @Test(arguments: [
    ("{}", "rootfs is missing"), (#"{"rootfs":{"type":"foo"}}"#, "is not \"layers\""),
    (#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#, "diff_ids"),
    (#"{"config":{"Env":"A=1"},"rootfs":{"type":"layers"}}"#, "Env is not an array"),
    (#"{"config":{"Labels":{"a":1}},"rootfs":{"type":"layers"}}"#, "Labels.a is not a string"),
    (#"{"config":{"Cmd":[1]},"rootfs":{"type":"layers"}}"#, "Cmd has a member that is not a string"),
    (String(repeating: #"{"config":"#, count: 100), "is not acceptable JSON"),
  ])
  func refusesAConfigurationByTheMemberThatIsWrong(_ text: String, _ says: String) {
    let error = #expect(throws: ImageSpecError.self) { try ImageConfig(parsing: Array(text.utf8), in: "config") }
    #expect(error?.description.contains(says) == true, "\(String(describing: error))")
  }

  @Test func platformsAreWrittenAsPeopleTypeThem() throws {
    #expect(try Platform("linux/arm/v7").description == "linux/arm/v7")
    for bad in ["", "linux", "linux/", "a/b/c/d"] { #expect(throws: ImageSpecError.self) { try Platform(bad) } }
  }
}
