import HTTPServer
import JSON
import Kernel
import Testing

@testable import APIServer

@Suite struct DocumentTests {
  @Test func theVersionIsTold() async throws {
    let world = try await TestServer()
    let answer = try await world.send("GET", "/version?timeout=32s", accept: "application/json, */*")
    #expect(answer.json["gitVersion"] == "v1.36.0+martlet")
    #expect(answer.json["major"] == "1")
    #expect(answer.json["minor"] == "36")
    try await world.stop()
  }

  @Test func aggregatedDiscoveryIsKnownByItsContent() async throws {
    let world = try await TestServer()
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    for path in ["/api", "/apis"] {
      let answer = try await world.send("GET", path, accept: accept)
      #expect(answer.status == 200)
      #expect(answer.json["kind"] == "APIGroupDiscoveryList")
      #expect(
        answer.headers["content-type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
      let tag = try #require(answer.headers["etag"])
      let again = try await world.send("GET", path, accept: accept, headers: ["If-None-Match": tag])
      #expect(again.status == 304)
      #expect(again.bytes.isEmpty)
      #expect(again.headers["etag"] == tag)
      let plain = try await world.send("GET", path, accept: "application/json, */*")
      #expect(plain.json["kind"]?.string == (path == "/api" ? "APIVersions" : "APIGroupList"))
    }
    try await world.stop()
  }

  @Test(arguments: [
    ("/api/v1", "APIResourceList"), ("/apis/apps/v1", "APIResourceList"), ("/apis/apps", "APIGroup"),
  ])
  func plainDiscoveryListsGroupsAndResources(_ path: String, _ kind: String) async throws {
    let world = try await TestServer()
    let answer = try await world.send("GET", path)
    #expect(answer.status == 200)
    #expect(answer.json["kind"]?.string == kind)
    #expect(try await world.send("GET", path, accept: "text/html").status == 406)
    try await world.stop()
  }

  @Test func theSchemaIsPublishedAndNamedByItsHash() async throws {
    let world = try await TestServer()
    let index = try await world.send("GET", "/openapi/v3")
    let url = try #require(index.json["paths"]?["apis/apps/v1"]?["serverRelativeURL"]?.string)
    #expect(url.hasPrefix("/openapi/v3/apis/apps/v1?hash="))
    let document = try await world.send("GET", url)
    #expect(document.json["openapi"] == "3.0.0")
    #expect(document.headers["content-encoding"] == nil)
    let packed = try await world.send("GET", url, headers: ["Accept-Encoding": "gzip"])
    #expect(packed.headers["content-encoding"] == "gzip")
    #expect(packed.headers["etag"] == document.headers["etag"])
    #expect(packed.bytes.count * 4 < document.bytes.count)
    #expect(try Zlib(.expand, format: .gzip).process(packed.bytes) == document.bytes)
    #expect(document.json["components"]?["schemas"]?["io.k8s.api.apps.v1.Deployment"] != nil)
    #expect(document.headers["cache-control"]?.hasPrefix("public, immutable") == true)
    let stale = try await world.send("GET", "/openapi/v3/apis/apps/v1?hash=00")
    #expect(stale.status == 301)
    #expect(stale.headers["location"] == url)
    let old = try await world.send("GET", "/openapi/v2")
    #expect(old.json["swagger"] == "2.0")
    let binary = try await world.send(
      "GET", "/openapi/v2", accept: "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    #expect(binary.headers["content-type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    #expect(try await world.send("GET", "/openapi/v3/apis/none/v1").status == 404)
    try await world.stop()
  }

  @Test func healthIsToldInTheWordsOfKubernetes() async throws {
    let world = try await TestServer()
    for path in ["/healthz", "/livez", "/readyz"] {
      let answer = try await world.send("GET", path)
      #expect(answer.status == 200)
      #expect(answer.text == "ok")
      #expect(answer.headers["content-type"] == "text/plain; charset=utf-8")
    }
    let verbose = try await world.send("GET", "/readyz?verbose")
    #expect(verbose.text == "[+]ping ok\n[+]store ok\nreadyz check passed\n")
    #expect(try await world.send("GET", "/readyz/ping").text == "ok")
    #expect(try await world.send("GET", "/readyz/nothing").status == 404)
    try await world.stop()
  }

  @Test func metricsCountWhatWasAnswered() async throws {
    let world = try await TestServer()
    try await world.send("GET", "/api/v1/namespaces/default/configmaps/none")
    let text = try await world.send("GET", "/metrics").text
    #expect(
      text.contains(
        #"apiserver_request_total{verb="GET",group="",version="v1",resource="configmaps",subresource="",code="404"} 1"#)
    )
    #expect(text.contains("apiserver_storage_objects{resource=\"namespaces\"} 4"))
    #expect(text.contains("apiserver_request_duration_seconds_bucket"))
    #expect(text.contains("process_resident_memory_bytes "))
    try await world.stop()
  }

  @Test func theRootListsItsPaths() async throws {
    let world = try await TestServer()
    let answer = try await world.send("GET", "/")
    #expect(answer.json["paths"]?.array?.contains("/apis/apps/v1") == true)
    #expect(try await world.send("POST", "/api/v1").status == 405)
    try await world.stop()
  }
}
