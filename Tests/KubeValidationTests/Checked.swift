import JSON
import KubeModel
import KubeValidation
import Testing
import YAML

/// A document and all that is to be said of it, in order.
struct Case: CustomTestStringConvertible {
  let name: String
  let yaml: String
  let messages: [String]

  init(_ name: String, _ yaml: String, _ messages: String...) {
    (self.name, self.yaml, self.messages) = (name, yaml, messages)
  }

  var testDescription: String { name }
}

/// Reads a document as the server does for what it is to check.
func object(_ yaml: String) throws -> any KubeKind {
  let document = try YAML.parse(yaml).first ?? .null
  return try AnyKind.type(of: document).init(lenient: document)
}

func createErrors(_ yaml: String) throws -> [String] { Validation.create(try object(yaml)).map(\.message) }

func updateErrors(_ new: String, old: String) throws -> [String] {
  Validation.update(try object(new), old: try object(old)).map(\.message)
}

func statusErrors(_ new: String, old: String) throws -> [String] {
  Validation.statusUpdate(try object(new), old: try object(old)).map(\.message)
}

/// Lines further to the right, for documents within documents.
func indented(_ text: String, by count: Int) -> String {
  text.split(separator: "\n", omittingEmptySubsequences: false)
    .map { String(repeating: " ", count: count) + $0 }.joined(separator: "\n")
}

/// A pod with this spec; a good container is added where the spec has none.
func pod(_ spec: String, metadata: String = "name: web\nnamespace: default") -> String {
  let containers = spec.contains("containers:") ? "" : "\n  containers: [{name: app, image: web:1}]"
  return """
    apiVersion: v1
    kind: Pod
    metadata:
    \(indented(metadata, by: 2))
    spec:\(containers)
    \(indented(spec, by: 2))
    """
}

/// A pod of one container with these fields.
func container(_ fields: String, volumes: String = "") -> String {
  pod("containers:\n- name: app\n  image: web:1\n\(indented(fields, by: 2))\n\(volumes)")
}

func deployment(_ spec: String, labels: String = "{app: web}", selector: String = "{matchLabels: {app: web}}") -> String
{
  """
  apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: default}
  spec:
    selector: \(selector)
    template:
      metadata: {labels: \(labels)}
      spec: {containers: [{name: app, image: web:1}]}
  \(indented(spec, by: 2))
  """
}

func service(_ spec: String) -> String {
  """
  apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: default}
  spec:
  \(indented(spec, by: 2))
  """
}
