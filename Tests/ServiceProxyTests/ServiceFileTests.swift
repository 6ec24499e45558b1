import KubeModel
import ServiceProxy
import Testing

@Suite struct ServiceFileTests {
  @Test func documentsAndListsAreRead() throws {
    let text = """
      apiVersion: v1
      kind: Service
      metadata: {name: web}
      spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
      ---
      # nothing
      ---
      kind: List
      items:
      - kind: EndpointSlice
        metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        endpoints: [{addresses: [10.1.0.2]}]
        ports: [{port: 8080}]
      ---
      {"kind":"ServiceList","items":[{"metadata":{"name":"api"},"spec":{"clusterIP":"10.96.0.11"}}]}
      """
    let file = try ServiceFile(Array(text.utf8))
    #expect(file.services.map(\.metadata.name) == ["web", "api"])
    #expect(file.slices.map(\.serviceName) == ["web"])
  }

  @Test(arguments: [
    ("kind: Pod\n", #"document 1: kind "Pod" is not Service, EndpointSlice or List"#),
    ("kind: Service\n---\nports: [\n", "document 2"),
    ("- a\n", #"document 1: kind "" is not Service, EndpointSlice or List"#),
  ])
  func whatIsNoServiceIsNamed(_ text: String, _ why: String) {
    let error = #expect(throws: ServiceFile.Unreadable.self) { try ServiceFile(Array(text.utf8)) }
    #expect(error?.description.hasPrefix(why) == true, "\(error?.description ?? "")")
  }
}
