import JSON
import Testing

extension KubeTests {
  /// kubectl apply --server-side, and kubectl with resources that a definition describes.
  @Suite(.cluster) struct Apply {
    @Test func serverSideApplyOwnsWhatItNames() async throws {
      let shell = try await KubeShell.make("ssa")
      func map(_ data: String) -> String {
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {\(data)}}"
      }
      try shell.write("one.yaml", map("a: one, b: one"))
      try shell.write("two.yaml", map("a: two"))
      try shell.write("less.yaml", map("b: one"))
      try await shell.says("kubectl apply --server-side -f one.yaml", "configmap/m serverside-applied")
      try await shell.shows(
        "kubectl apply --server-side --field-manager=other -f two.yaml 2>&1; true",
        "Apply failed with 1 conflict: conflict with \"kubectl\": .data.a")
      try await shell.says(
        "kubectl apply --server-side --field-manager=other --force-conflicts -f two.yaml",
        "configmap/m serverside-applied")
      try await shell.says("kubectl get cm m -o jsonpath='{.data}{\"\\n\"}'", #"{"a":"two","b":"one"}"#)
      try await shell.says("kubectl apply --server-side -f less.yaml", "configmap/m serverside-applied")
      try await shell.says("kubectl get cm m -o jsonpath='{.data}{\"\\n\"}'", #"{"a":"two","b":"one"}"#)
      try await shell.shows("kubectl get cm m -o yaml --show-managed-fields", "manager: other")
      try await shell.says("kubectl diff --server-side -f less.yaml", "")
    }

    @Test func definitionsAreServedToKubectl() async throws {
      let shell = try await KubeShell.make("crd")
      try shell.write("crd.yaml", Self.definition)
      try shell.write(
        "w.yaml", "{apiVersion: kubectl.example.com/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}")
      try await shell.says(
        "kubectl apply -f crd.yaml", "customresourcedefinition.apiextensions.k8s.io/widgets.kubectl.example.com created"
      )
      try await shell.says(
        "kubectl wait --for=condition=Established crd/widgets.kubectl.example.com",
        "customresourcedefinition.apiextensions.k8s.io/widgets.kubectl.example.com condition met")
      try await shell.says("kubectl apply -f w.yaml", "widget.kubectl.example.com/w created")
      try await shell.says("kubectl apply -f w.yaml", "widget.kubectl.example.com/w unchanged")
      try await shell.tabulates("kubectl get wd", "w 3")
      try await shell.shows("kubectl explain widget.spec.size", "How large it is.")
      try await shell.says("kubectl delete widget w", "widget.kubectl.example.com \"w\" deleted from crd namespace")
      try await shell.shows("kubectl delete -f crd.yaml", "deleted")
    }

    private static let definition = """
      apiVersion: apiextensions.k8s.io/v1
      kind: CustomResourceDefinition
      metadata: {name: widgets.kubectl.example.com}
      spec:
        group: kubectl.example.com
        scope: Namespaced
        names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
        versions:
        - name: v1
          served: true
          storage: true
          additionalPrinterColumns:
          - {name: Size, type: integer, jsonPath: .spec.size}
          schema:
            openAPIV3Schema:
              type: object
              properties:
                spec:
                  type: object
                  properties:
                    size: {type: integer, minimum: 1, description: How large it is.}
      """
  }
}
