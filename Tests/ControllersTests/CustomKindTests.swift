import JSON
import KubeModel
import Testing

@testable import Controllers

@Suite struct CustomKindTests {
  @Test(arguments: [
    ("/apis/any.martlet.dev/v1/objects", "/apis/example.org/v2/widgets"),
    ("/apis/any.martlet.dev/v1/objects/one", "/apis/example.org/v2/widgets/one"),
    ("/apis/any.martlet.dev/v1/namespaces/a/objects", "/apis/example.org/v2/namespaces/a/widgets"),
    ("/apis/any.martlet.dev/v1/namespaces/a/objects/one", "/apis/example.org/v2/namespaces/a/widgets/one"),
    ("/apis/any.martlet.dev/v1/namespaces/a/objects/objects", "/apis/example.org/v2/namespaces/a/widgets/objects"),
  ])
  func requestsLeadToTheKind(asked: String, sent: String) {
    let widgets = ResourceType(
      group: "example.org", version: "v2", plural: "widgets", kind: "Widget", isNamespaced: true)
    #expect(CustomPath.path(asked, widgets) == sent)
  }

  @Test func aKindIsServedInTheVersionThatItIsKeptIn() throws {
    func definition(_ versions: JSONValue) throws -> CustomDefinition {
      try CustomDefinition(
        lenient: [
          "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
          "metadata": ["name": "widgets.example.org"],
          "spec": [
            "group": "example.org", "scope": "Cluster", "names": ["plural": "widgets", "kind": "Widget"],
            "versions": versions,
          ],
        ])
    }
    let kept: JSONValue = [
      ["name": "v1", "served": true, "storage": false], ["name": "v2", "served": true, "storage": true],
    ]
    #expect(
      try definition(kept).served
        == ResourceType(group: "example.org", version: "v2", plural: "widgets", kind: "Widget", isNamespaced: false))
    #expect(try definition([["name": "v1", "served": false, "storage": true]]).served == nil)
  }
}
