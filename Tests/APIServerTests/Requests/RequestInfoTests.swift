import HTTPServer
import Testing

@testable import APIServer

@Suite struct RequestInfoTests {
  struct Case: Sendable, CustomStringConvertible {
    let method: String
    let target: String
    /// verb, group/version, namespace, resource, subresource, name.
    let words: [String]
    var description: String { "\(method) \(target)" }

    init(_ method: String, _ target: String, _ words: String...) {
      (self.method, self.target, self.words) = (method, target, words)
    }
  }

  static let resources: [Case] = [
    Case("GET", "/api/v1/pods", "list", "v1", "", "pods", "", ""),
    Case("GET", "/api/v1/pods?watch=true", "watch", "v1", "", "pods", "", ""),
    Case("GET", "/api/v1/pods?watch=false", "list", "v1", "", "pods", "", ""),
    Case("GET", "/api/v1/watch/namespaces/a/pods", "watch", "v1", "a", "pods", "", ""),
    Case("GET", "/api/v1/namespaces/a/pods/b", "get", "v1", "a", "pods", "", "b"),
    Case("GET", "/api/v1/namespaces/a/pods/b/log?follow=true", "get", "v1", "a", "pods", "log", "b"),
    Case("POST", "/api/v1/namespaces/a/pods", "create", "v1", "a", "pods", "", ""),
    Case("POST", "/api/v1/namespaces/a/pods/b/binding", "create", "v1", "a", "pods", "binding", "b"),
    Case("PUT", "/apis/apps/v1/namespaces/a/deployments/b", "update", "apps/v1", "a", "deployments", "", "b"),
    Case(
      "PATCH", "/apis/apps/v1/namespaces/a/deployments/b/scale", "patch", "apps/v1", "a", "deployments", "scale", "b"),
    Case("DELETE", "/api/v1/namespaces/a/secrets/b", "delete", "v1", "a", "secrets", "", "b"),
    Case("DELETE", "/api/v1/namespaces/a/secrets", "deletecollection", "v1", "a", "secrets", "", ""),
    Case("GET", "/api/v1/namespaces/a", "get", "v1", "a", "namespaces", "", "a"),
    Case("GET", "/api/v1/namespaces", "list", "v1", "", "namespaces", "", ""),
    Case("PUT", "/api/v1/namespaces/a/finalize", "update", "v1", "a", "namespaces", "finalize", "a"),
    Case("PUT", "/api/v1/namespaces/a/status", "update", "v1", "a", "namespaces", "status", "a"),
    Case("GET", "/api/v1/nodes/n/status", "get", "v1", "", "nodes", "status", "n"),
  ]

  @Test(arguments: resources) func aPathSaysWhatIsAskedFor(_ example: Case) throws {
    let target = try #require(HTTPTarget(example.target))
    let info = RequestInfo(method: example.method, path: target.path, query: target.query)
    #expect(info.isResourceRequest)
    #expect(
      [info.verb, info.apiVersion, info.namespace, info.resource, info.subresource, info.name] == example.words)
  }

  @Test(arguments: ["/", "/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1", "/healthz", "/openapi/v3/api/v1"])
  func otherPathsAreNoResources(_ path: String) throws {
    let info = RequestInfo(method: "GET", path: path, query: [:])
    #expect(!info.isResourceRequest)
    #expect(info.verb == "get")
  }

  @Test func whatLastsHasNoDeadline() {
    func info(_ path: String, _ query: HTTPQuery = [:]) -> RequestInfo {
      RequestInfo(method: "GET", path: path, query: query)
    }
    #expect(info("/api/v1/pods", ["watch": "1"]).isLongRunning)
    #expect(info("/api/v1/namespaces/a/pods/b/exec").isLongRunning)
    #expect(!info("/api/v1/namespaces/a/pods/b").isLongRunning)
    #expect(!info("/api/v1/pods").isLongRunning)
  }
}
