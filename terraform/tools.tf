# Tools: what their files under functions/tool_*/ say, beside their rows in functions.tf.

locals {
  tools = {
    for name in fileset("${path.module}/../functions", "tool_*/tool.json") :
    dirname(name) => jsondecode(file("${path.module}/../functions/${name}"))
  }

  # Whatever a tool does, it asks for the user's right, and stores and sends what came of the call.
  tool_access = {
    connections = "readwrite"
    database    = "app"
    turns       = "readwrite"
    websocket   = "post"
  }

  # An object of JSONata, tool to ARN. The machine's role is made from the ARNs in it.
  tool_arns = "{${join(", ", [for key, tool in local.tools : "'${tool.name}': '${module.function[key].alias_arn}'"])}}"
}
