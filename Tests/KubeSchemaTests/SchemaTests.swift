import JSON
import KubeSchema
import Testing

private let schema = Schema.kubernetes

@Suite struct SchemaTests {
  @Test func theTableKnowsKindsFieldsAndResources() throws {
    let pod = try #require(schema.type(apiVersion: "v1", kind: "Pod"))
    #expect(pod.name == "io.k8s.api.core.v1.Pod")
    #expect(pod.isKind && !pod.isList)
    let field = try #require(pod.fields["spec"])
    let spec = try #require(schema.type(in: field.valueType))
    let containers = try #require(spec.fields["containers"])
    #expect(containers.valueType == .list(.object("io.k8s.api.core.v1.Container")))
    #expect(containers.isRequired)
    #expect(containers.patchMergeKey == "name")
    #expect(containers.patchStrategy == .merge)
    #expect(containers.listType == .map)
    #expect(containers.listMapKeys == ["name"])
    #expect(containers.protobufNumber == 2)
    #expect(spec.fields["volumes"]?.patchStrategy == [.merge, .retainKeys])
    #expect(spec.fields["terminationGracePeriodSeconds"]?.default == 30)
    #expect(spec.fields["terminationGracePeriodSeconds"]?.zero == .value)
    #expect(spec.fields["restartPolicy"]?.goType == "v1.RestartPolicy")
    #expect(schema.type(apiVersion: "v1", kind: "PodList")?.isList == true)
    let pods = try #require(schema.resource(apiVersion: "v1", kind: "Pod"))
    #expect(pods.resource == "pods" && pods.isNamespaced && pods.shortNames == ["po"] && pods.categories == ["all"])
    #expect(schema.resources.contains { $0.name == "deployments/scale" && $0.kind == "Scale" && $0.group == "apps" })
  }

  @Test func everyTypeThatAFieldNamesIsThere() {
    for type in schema.types.values {
      for field in type.orderedFields {
        if let name = field.valueType.objectName { #expect(schema.types[name] != nil, "\(type.name) \(field.name)") }
        // Definitions of custom resources are spoken as JSON alone.
        if !type.name.hasPrefix("io.k8s.apiextensions"), !(type.isKind && ["apiVersion", "kind"].contains(field.name)) {
          #expect(!field.protobufPath.isEmpty, "\(type.name) \(field.name)")
        }
      }
    }
  }

  @Test func everyResourceThatCanBeListedHasItsKindAndItsList() {
    for row in schema.resources where row.verbs.contains("list") {
      #expect(schema.type(apiVersion: row.apiVersion, kind: row.kind) != nil, "\(row.name)")
      #expect(schema.type(apiVersion: row.apiVersion, kind: row.kind + "List")?.isList == true, "\(row.name)")
    }
  }

  @Test func kindsOfTheMachineryAreOfEveryGroup() {
    #expect(schema.type(apiVersion: "apps/v1", kind: "DeleteOptions")?.shortName == "DeleteOptions")
    #expect(schema.type(apiVersion: "apps/v1", kind: "Pod") == nil)
  }
}
