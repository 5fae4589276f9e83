# A machine's role comes from its own definition.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name               = "test"
  kms_key_arn        = "arn:aws:kms:us-east-1:123456789012:key/data"
  log_kms_key_arn    = "arn:aws:kms:us-east-1:123456789012:key/logs"
  log_retention_days = 30
}

run "role_calls_the_functions_of_the_definition_and_no_others" {
  command = apply

  module {
    source = "./modules/state_machine"
  }

  variables {
    definition = jsonencode({
      StartAt = "One"
      States = {
        One = {
          Type      = "Task"
          Resource  = "arn:aws:states:::lambda:invoke"
          Arguments = { FunctionName = "arn:aws:lambda:us-east-1:123456789012:function:one:live" }
          Next      = "Two"
        }
        Two = {
          Type     = "Task"
          Resource = "arn:aws:states:::lambda:invoke.waitForTaskToken"
          Arguments = {
            FunctionName = "arn:aws:lambda:us-east-1:123456789012:function:two_2:live"
          }
          End = true
        }
      }
    })
  }

  assert {
    condition = [
      for statement in jsondecode(output.policy).Statement : statement.Resource
      if contains(flatten([statement.Action]), "lambda:InvokeFunction")
      ] == [[
        "arn:aws:lambda:us-east-1:123456789012:function:one:live",
        "arn:aws:lambda:us-east-1:123456789012:function:two_2:live",
    ]]
    error_message = "The role calls one and two_2, in one statement."
  }

  assert {
    condition     = !strcontains(join(",", flatten(jsondecode(output.policy).Statement[*].Action)), "*")
    error_message = "Actions are named one by one."
  }

  assert {
    condition     = aws_sfn_state_machine.this.logging_configuration[0].include_execution_data == false
    error_message = "Data of executions is not logged."
  }
}

run "role_reaches_the_tables_and_machines_of_the_definition" {
  command = apply

  module {
    source = "./modules/state_machine"
  }

  variables {
    table_arns = ["arn:aws:dynamodb:us-east-1:123456789012:table/jobs"]
    definition = jsonencode({
      StartAt = "Read"
      States = {
        Read  = { Type = "Task", Resource = "arn:aws:states:::dynamodb:getItem", Next = "Write" }
        Write = { Type = "Task", Resource = "arn:aws:states:::aws-sdk:dynamodb:transactWriteItems", Next = "Start" }
        Start = {
          Type      = "Task"
          Resource  = "arn:aws:states:::states:startExecution"
          Arguments = { StateMachineArn = "arn:aws:states:us-east-1:123456789012:stateMachine:other" }
          End       = true
        }
      }
    })
  }

  assert {
    condition = {
      for statement in jsondecode(output.policy).Statement : statement.Action[0] => statement.Resource
      if contains(["dynamodb:GetItem", "dynamodb:UpdateItem", "states:StartExecution"], statement.Action[0])
      } == {
      "dynamodb:GetItem"      = ["arn:aws:dynamodb:us-east-1:123456789012:table/jobs"]
      "dynamodb:UpdateItem"   = ["arn:aws:dynamodb:us-east-1:123456789012:table/jobs"]
      "states:StartExecution" = ["arn:aws:states:us-east-1:123456789012:stateMachine:other"]
    }
    error_message = "The role reads and updates the table, and starts the other machine."
  }
}

run "definition_whose_first_state_is_missing_is_refused" {
  command = plan

  module {
    source = "./modules/state_machine"
  }

  variables {
    definition = jsonencode({ StartAt = "Nowhere", States = { One = { Type = "Succeed" } } })
  }

  expect_failures = [var.definition]
}
